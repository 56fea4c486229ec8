"""What a target makes of a model besides the model: a compiled file, C sources with their test."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.target import Target
from edgekit.engine.device_session import DeviceSession, device_module
from edgekit.engine.measure import on_target, open_session
from edgekit.engine.targets import check_runs

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["products_of"]


def products_of(
    artifact: Artifact,
    target: Target,
    *,
    inputs: tuple[Array, ...],
    outputs: tuple[Array, ...],
) -> Mapping[str, bytes | Path]:
    """The files by the name that they have beside the model; none for most targets.

    `inputs` and `outputs` are golden samples, with which C sources test themselves.

    Raises:
        UsageError: it cannot be made of this model; says why.
        UnmeasuredError: what makes it is not installed here.
    """
    made: dict[str, bytes | Path] = {}
    own = getattr(catalog.load("runners", target.runner), "products", None)
    if own is not None:

        def ask() -> tuple[tuple[Array, ...], int | None]:
            return _told(artifact, target, inputs)

        made |= own(target.options, artifact.path, inputs=inputs, outputs=outputs, ask=ask)
    if target.device is not None:
        compiled = getattr(device_module(target.device), "products", None)
        made |= compiled(target.device.options, artifact.path) if compiled is not None else {}
    return made


def _told(
    artifact: Artifact, target: Target, inputs: tuple[Array, ...]
) -> tuple[tuple[Array, ...], int | None]:
    """What the target itself answers to the golden inputs, and the bytes that it needs for it."""
    check_runs(target)
    with closing(open_session(on_target(artifact, target))) as session:
        assert isinstance(session, DeviceSession), "a target with products runs on its device"
        outputs = session.run(inputs)
        figures = {figure.name: figure.value for figure in session.figures()}
    return outputs, figures.get("memory")
