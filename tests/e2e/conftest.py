"""End-to-end tests share one cache, so that a zoo model is trained once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step cache of all end-to-end tests."""
    return tmp_path_factory.mktemp("e2e-cache")


@pytest.fixture(autouse=True)
def _own_cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(shared_cache))


@pytest.fixture(scope="session")
def tiny_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras 3 file with random weights."""
    from edgekit.frameworks.keras import save_keras
    from edgekit.zoo.digits_cnn import build

    path = tmp_path_factory.mktemp("models") / "tiny.keras"
    save_keras(build((8, 8, 1), 10), path)
    return path
