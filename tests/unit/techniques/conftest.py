"""Small models and a `Work` to quantize them with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_work import FakeWork, artifact


@pytest.fixture
def tiny_dynamic(tiny_float: Path) -> Path:
    """The same net as tiny_float, with an open batch and the ops that compute shapes."""
    return tiny_float.with_name("tiny_dynamic.tflite")


@pytest.fixture
def tiny_leaky(tiny_float: Path) -> Path:
    """The net with LEAKY_RELU, which litert-quantizer leaves in float."""
    return tiny_float.with_name("tiny_leaky.tflite")


@pytest.fixture
def work_on(tmp_path: Path) -> Callable[..., FakeWork]:
    """Makes a FakeWork for a source file."""

    def make(path: Path, **settings: Any) -> FakeWork:
        return FakeWork(tmp_path, artifact(path), **settings)

    return make
