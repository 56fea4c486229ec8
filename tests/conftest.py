"""Shared fixtures: a cache of the test run's own, and the small models."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: a failure in CI is the change's own, and can be repeated.
settings.register_profile("edgekit", derandomize=True, deadline=None)
settings.load_profile("edgekit")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_float() -> Path:
    """A float .tflite of a few kB, made by tools/make_test_models.py."""
    return Path(__file__).resolve().parent / "data" / "tiny_float.tflite"
