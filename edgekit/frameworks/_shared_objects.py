"""Numbers in place of the memory addresses that Keras writes into a `.keras` file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from edgekit.frameworks.keras_files import CONFIG

__all__ = ["number_shared_objects", "renumbered"]

_KEY = "shared_object_id"


def number_shared_objects(path: Path) -> None:
    """Rewrites a file that was just saved: objects that layers share are told apart by 1, 2, ...

    Keras tells them apart by their address, which is another one in every process, and with it
    the digest of the same model.
    """
    with zipfile.ZipFile(path) as archive:
        members = {item.filename: archive.read(item) for item in archive.infolist()}
    members[CONFIG] = json.dumps(renumbered(json.loads(members[CONFIG]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def renumbered(config: Any) -> Any:
    """The configuration with its objects numbered in the order in which they come."""
    numbers: dict[int, int] = {}

    def walk(item: Any) -> Any:
        if isinstance(item, list):
            return [walk(value) for value in item]
        if not isinstance(item, dict):
            return item
        return {
            key: numbers.setdefault(value, len(numbers) + 1)
            if key == _KEY and isinstance(value, int)
            else walk(value)
            for key, value in item.items()
        }

    return walk(config)
