"""The runner `edgetpu`: it opens nothing, and nothing that it says is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.artifact import Signature
from edgekit.core.schema import build
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.runners import edgetpu


def test_a_model_is_opened_on_the_device_only() -> None:
    with pytest.raises(UnmeasuredError, match=r"m\.tflite: a model for an Edge TPU is opened") as e:
        edgetpu.open(Path("m.tflite"), Signature((), ()), edgetpu.Options())
    assert e.value.hint == "leave --on out"


def test_nothing_of_it_counts_as_measured() -> None:
    assert edgetpu.UNREAL.startswith("the Edge TPU is not executed here")
    assert (edgetpu.unavailable(), dict(edgetpu.versions()), edgetpu.MODULES) == ("", {}, ())


def test_it_has_no_threads() -> None:
    with pytest.raises(UsageError, match="threads must be 1, not 2"):
        build(edgetpu.Options, {"threads": 2}, where="t.toml: options")
