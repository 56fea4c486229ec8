"""Show a model's signature, ops, parameters, MACs, and where its bytes are"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import _options as options
from edgekit.core.artifact import Artifact, TensorSpec
from edgekit.core.description import Description
from edgekit.text import clean
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.engine.delegation import Delegation
    from edgekit.engine.fit import Fit

__all__ = ["command"]

_TOP = 20
"""Weights that the table shows; --json has all of them."""


@click.command("inspect")
@options.model
@click.option("--target", metavar="T", help="Say what of it this target cannot run, and why.")
@options.delegates
@options.as_json
def command(
    model: str, target: str | None, libraries: tuple[str, ...], strict: bool, as_json: bool
) -> int:
    """Reads MODEL without running it.

    With --target it says which ops stay on the CPU there, why, and what to change. The exit code is
    1 where the target cannot run it; with --strict, where too few ops leave the CPU, too.
    """
    from edgekit.engine.models import describe
    from edgekit.engine.open_model import open_model

    delegation = options.delegation(libraries, strict=strict)
    if target is None and (libraries or strict):
        raise click.UsageError("--delegate and --strict say something of a target: --target T")
    artifact = open_model(model)
    held = _held(artifact, target, delegation) if target else None
    found = describe(artifact)
    if as_json:
        of_target = {"fit": {**dataclasses.asdict(held), "runs": held.runs}} if held else {}
        options.print_json({**_plain(artifact, found), **of_target})
    else:
        lines = [*_lines(artifact, found), *(_fit(held) if held else ())]
        click.echo("\n".join(clean(line, most=400) for line in lines))
    return 0 if held is None or held.runs else 1


def _held(artifact: Artifact, target: str, delegation: Delegation) -> Fit:
    from edgekit.core.target import load_target
    from edgekit.engine.fallbacks import delegated
    from edgekit.engine.fit import fit

    return fit(artifact, delegated(load_target(target), delegation))


def _fit(held: Fit) -> list[str]:
    """What the target makes of the model: what its file says, and what its runtime did."""
    lines = [f"on {held.target}"]
    shown = {kind for stay in held.stays for kind, _ in stay.kinds}
    for misfit in held.misfits:
        if misfit.what in shown:
            continue
        lines.append(f"  cannot run  {misfit.count} {misfit.what}: {misfit.reason}")
        lines.append(f"              what to change: {misfit.advice}")
    if held.problem:
        lines.append(f"  cannot run  {held.problem}")
    lines += [f"  fell back   {note.item}: {note.reason}" for note in held.notes]
    placed = options.placement_lines(held.placement)
    return [
        *lines,
        *_stays(held),
        *(placed[: 1 + bool(held.placement.reason)] if held.stays else placed),
    ]


def _stays(held: Fit) -> list[str]:
    """The ops that stay on the CPU by reason, each group with what would move it."""
    if not held.stays:
        return []
    count = sum(stay.count for stay in held.stays)
    how = "as the runtime says" if held.stays[0].measured else "by the rules of the target's file"
    lines = [f"  on the CPU  {count} of {held.ops} ops, {how}"]
    for stay in held.stays:
        kinds = ", ".join(f"{number} {clean(kind)}" for kind, number in stay.kinds)
        dtype = f" ({stay.dtype})" if stay.dtype else ""
        lines.append(f"              {kinds}{dtype}: {stay.reason}")
        lines.append(f"              what to change: {stay.advice}")
    return lines


def _plain(artifact: Artifact, found: Description) -> dict[str, Any]:
    return {
        **dataclasses.asdict(found),
        "path": str(artifact.path),
        "digest": artifact.digest,
        "scaling": dataclasses.asdict(artifact.scaling),
        "bytes_by": dict(found.bytes_by),
        "macs": found.macs,
        "op_counts": found.op_counts,
    }


def _lines(artifact: Artifact, found: Description) -> list[str]:
    macs = "unknown" if found.macs is None else f"{found.macs:,}"
    return [
        f"{artifact.path}: {found.format}, {format_bytes(found.size_bytes)}",
        f"  digest      {artifact.digest[:16]}",
        f"  parameters  {found.parameters:,}",
        f"  MACs        {macs}",
        *(f"  {fact}" for fact in found.facts),
        *_tensors("inputs", found.signature.inputs),
        *_tensors("outputs", found.signature.outputs),
        *_scaling(artifact),
        f"ops ({len(found.ops)})",
        *(f"  {count:>5} {kind}" for kind, count in found.op_counts.items()),
        "bytes",
        *(_share(name, size, found.size_bytes) for name, size in found.bytes_by),
        *_weights(found),
        *(f"note: {note}" for note in found.notes),
    ]


def _tensors(heading: str, specs: tuple[TensorSpec, ...]) -> list[str]:
    rows = []
    for spec in specs:
        shape = "x".join("?" if size is None else str(size) for size in spec.shape) or "scalar"
        scale = spec.quantization
        text = f"  scale {scale.scale:.6g}, zero point {scale.zero_point}" if scale else ""
        rows.append(f"  {spec.name}  {shape}  {spec.dtype}{text}")
    return [heading, *rows]


def _scaling(artifact: Artifact) -> list[str]:
    scaling = artifact.scaling
    if scaling.is_identity and scaling.low is None:
        return []
    text = f"  model input = raw * {list(scaling.scale)} + {list(scaling.offset)}"
    if scaling.low is not None:
        text += f", raw from {scaling.low:g} to {scaling.high:g}"
    return ["input scaling", text]


def _share(name: str, size: int, total: int) -> str:
    return f"  {name:<12} {format_bytes(size):>9} {100 * size / total:5.1f} %"


def _weights(found: Description) -> list[str]:
    largest = sorted(found.weights, key=lambda weight: -weight.size_bytes)
    rows = [
        f"  {format_bytes(weight.size_bytes):>9}  {weight.dtype:<8} "
        f"{'x'.join(map(str, weight.shape)) or 'scalar':<14} {weight.name}"
        for weight in largest[:_TOP]
    ]
    if len(largest) > _TOP:
        rows.append(f"  (+{len(largest) - _TOP} smaller ones: --json has all)")
    return [f"weights ({len(largest)})", *rows]
