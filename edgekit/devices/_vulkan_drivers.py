"""The Vulkan drivers of this machine, by the files that tell a loader of them (ICD, JSON)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["VARIABLES", "Drivers", "find"]

VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
"""What a loader reads in place of its folders, the first that is set."""

_FOLDERS = ("/etc", "/usr/local/etc", "/usr/local/share", "/usr/share")
_NODES = ("dri/renderD*", "nvidia[0-9]*", "mali[0-9]*", "kgsl-3d0", "dxg")
_SOFTWARE = ("swiftshader", "lvp", "lavapipe", "llvmpipe", "mock_icd")
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class Drivers:
    """Drivers of GPUs, which are there to be used; `named` says that the user chose them."""

    files: tuple[Path, ...]
    are_software: bool = False
    named: str = ""

    @property
    def title(self) -> str:
        """The drivers by their files' names: 'nvidia_icd, intel_icd.x86_64'."""
        return ", ".join(path.stem for path in self.files)


def find(environment: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> Drivers | None:
    """What the user named, else the drivers of real GPUs where one is there; None without both."""
    for variable in VARIABLES:
        named = environment.get(variable, "")
        files = tuple(Path(word).absolute() for word in named.split(os.pathsep) if word)
        if files:
            return Drivers(files, any(map(_is_software, files)), variable)
    if not any(True for node in _NODES for _ in (root / "dev").glob(node)):
        return None
    folders = (root / folder.lstrip("/") / "vulkan" / "icd.d" for folder in _FOLDERS)
    known = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    real = tuple(path for path in known if not _is_software(path))
    return Drivers(real) if real else None


def _is_software(icd: Path) -> bool:
    """Whether a driver computes on the CPU; one whose file cannot be read is no GPU either."""
    try:
        with icd.open("rb") as file:
            library = str(json.loads(file.read(_MOST_BYTES))["ICD"]["library_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return any(word in f"{icd.name} {library}".lower() for word in _SOFTWARE)
