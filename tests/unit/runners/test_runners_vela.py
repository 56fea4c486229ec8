"""The runner `vela`: it opens nothing in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.artifact import Signature
from edgekit.core.schema import build
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.runners import vela


def test_a_model_is_opened_on_the_device_only() -> None:
    with pytest.raises(UnmeasuredError, match=r"m\.tflite: a model for an Ethos-U is opened") as e:
        vela.open(Path("m.tflite"), Signature((), ()), vela.Options())
    assert e.value.hint == "leave --on out"


def test_it_has_no_versions_and_no_modules_of_its_own() -> None:
    assert (vela.unavailable(), dict(vela.versions()), vela.MODULES) == ("", {}, ())


def test_threads_within_bounds() -> None:
    with pytest.raises(UsageError, match="threads must be from 1 to 64, not 65"):
        build(vela.Options, {"threads": 65}, where="t.toml: options")
