"""From the user's MODEL to an artifact: which format a file has, checked before any work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgekit.core import catalog
from edgekit.core.artifact import IDENTITY, Artifact, InputScaling
from edgekit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from edgekit.core.description import Description
    from edgekit.core.format import Format

__all__ = [
    "ZOO_PREFIX",
    "ModelFiles",
    "describe",
    "format_of",
    "identify",
    "open_artifact",
    "paths_of",
    "zoo_name",
]

ZOO_PREFIX = "zoo:"


def format_of(name: str) -> Format:
    """The module of a format."""
    return cast("Format", catalog.load("formats", name))


def zoo_name(model: str) -> str | None:
    """The name after 'zoo:', or None where MODEL is a path.

    Raises:
        UsageError: the zoo has no such model; with the nearest names.
    """
    if not model.startswith(ZOO_PREFIX):
        return None
    name = model.removeprefix(ZOO_PREFIX)
    known = catalog.names("zoo")
    if name not in known:
        raise UsageError(
            f"model '{model}': the zoo has no '{name}'", hint=did_you_mean(name, known)
        )
    return name


def identify(path: Path) -> str:
    """The format of a model file or folder, by its content.

    Raises:
        UsageError: nothing there, unreadable, empty, or no format that edgekit knows.
    """
    _check_readable(path)
    # The one that the ending names comes first: where it is right, no other has to be loaded.
    names = sorted(catalog.names("formats"), key=lambda name: name != path.suffix.removeprefix("."))
    for name in names:
        if format_of(name).sniff(path):
            return name
    modules = [format_of(name) for name in catalog.names("formats")]
    for module in modules:
        # The ending promises a format that the content does not have: let that format say why.
        if path.suffix and path.suffix in module.SUFFIXES:
            module.check(path)
    endings = [end for module in modules for end in module.SUFFIXES if end]
    raise UsageError(
        f"model '{path}' is no model file that edgekit knows",
        hint=f"it opens {', '.join(endings)}, SavedModel folders, and zoo:NAME",
    )


def _check_readable(path: Path) -> None:
    try:
        if not path.exists():
            raise UsageError(f"model '{path}': no such file or folder", hint=_nearby(path))
        if path.is_file():
            with path.open("rb") as file:
                empty = not file.read(1)
        elif path.is_dir():
            empty = not any(path.iterdir())
        else:
            raise UsageError(f"model '{path}' is neither a file nor a folder")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"model '{path}' cannot be read: {reason}") from None
    if empty:
        raise UsageError(f"model '{path}' is empty")


def open_artifact(path: Path) -> Artifact:
    """Checks a model file and makes the artifact of it.

    The input scaling comes from the file itself where edgekit wrote it.

    Raises:
        UsageError: not a model, or a damaged one.
    """
    name = identify(path)
    module = format_of(name)
    module.check(path)
    own = module.read_scaling(path) or IDENTITY
    return Artifact(path, name, module.digest(path), _title(path), scaling=own)


def paths_of(artifact: Artifact) -> tuple[Path, ...]:
    """The file or folder of a model, and the files beside it that belong to it."""
    return (artifact.path, *format_of(artifact.format).parts(artifact.path))


_described: dict[tuple[str, str], Description] = {}


def describe(artifact: Artifact) -> Description:
    """What an artifact holds; read once a process for each content, wherever the file lies."""
    key = artifact.format, artifact.digest
    if key not in _described:
        _described[key] = format_of(artifact.format).describe(artifact.path)
    return _described[key]


class ModelFiles:
    """Implements `core.technique.Models`: what a step's check may look at."""

    def describe(self, artifact: Artifact) -> Description:
        """What an artifact holds."""
        return describe(artifact)

    def open(self, model: str) -> Artifact:
        """Opens a model file that a recipe names."""
        return open_artifact(Path(model))


def with_scaling(artifact: Artifact, scaling: InputScaling | None) -> Artifact:
    """The same artifact with the scaling that the user gave, if any."""
    return artifact if scaling is None else dataclasses.replace(artifact, scaling=scaling)


def _title(path: Path) -> str:
    resolved = path.resolve()
    return resolved.stem if resolved.is_file() else resolved.name


def _nearby(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir()]
    except OSError:
        return f"there is no folder '{path.parent}' either"
    near = did_you_mean(path.name, names) if names else ""
    if near.startswith("did you mean"):
        return near
    zoo = ", ".join(f"{ZOO_PREFIX}{name}" for name in catalog.names("zoo"))
    return f"MODEL is a path, or one of {zoo}"
