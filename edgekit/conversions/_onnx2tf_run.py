"""Starts onnx2tf in its own environment, and says in the user's words where it failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.conversions import _onnx2tf_child
from edgekit.conversions._onnx2tf_check import ELSEWHERE
from edgekit.conversions._onnx2tf_environment import VERSION
from edgekit.conversions._onnx2tf_model import COPY, Prepared
from edgekit.core.artifact import Artifact
from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.isolated import Environment, RunError
from edgekit.frameworks.tflite import read_bytes
from edgekit.text import clean

__all__ = ["convert"]

_LIMIT_SECONDS = 3600


def convert(
    ready: Environment, prepared: Prepared, source: Artifact, work: Work, *, keep: list[str]
) -> bytes:
    """Runs onnx2tf on the copy; `keep` are the inputs that keep their layout.

    Raises:
        PromiseError: it failed; the op and node are named where it knows them.
    """
    asked = {
        "model": str(work.folder / COPY),
        "folder": str(work.folder / "made"),
        "keep": keep,
    }
    try:
        with work.progress(f"convert with onnx2tf {VERSION}", 1) as bar:
            script = Path(_onnx2tf_child.__file__)
            found = ready.run(script, asked, folder=work.folder, limit_seconds=_LIMIT_SECONDS)
            if bar is not None:
                bar.advance(1)
    except RunError as error:
        said = f": {clean(error.lines[-1], most=300)}" if error.lines else ""
        raise PromiseError(
            f"model '{source.name}': onnx2tf {error.how}{said}", hint=ELSEWHERE
        ) from None
    if "tflite" not in found:
        raise _failure(found, source, prepared, work)
    if found.get("simplified"):
        work.note("not simplified", source.name, clean(found["simplified"], most=300))
    return read_bytes(Path(found["tflite"]))


def _failure(
    found: Mapping[str, str], source: Artifact, prepared: Prepared, work: Work
) -> PromiseError:
    """What onnx2tf said, with the user's names."""
    signature = work.describe(source).signature
    said = found.get("error", "")
    for specs, inner in (
        (signature.inputs, prepared.inputs),
        (signature.outputs, prepared.outputs),
    ):
        for spec, name in reversed(list(zip(specs, inner, strict=True))):
            said = said.replace(name, spec.name)
    op, node = clean(found.get("op", "")), clean(found.get("node", ""))
    what = f"cannot convert the op '{op}' (node '{node}')" if op else "fails"
    return PromiseError(
        f"model '{source.name}': onnx2tf {what}: {clean(said, most=300)}",
        hint=f"export the model without it; {ELSEWHERE}",
    )
