"""Making a LiteRT interpreter: errors in the user's words, and no start-up noise."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from edgekit.errors import UsageError
from edgekit.lazy import version

__all__ = ["Kernels", "create", "explain", "quiet_start"]

Kernels = Literal["xnnpack", "builtin", "reference"]

_RESOLVERS: dict[Kernels, str] = {
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
_NOISE = ("INFO: Created TensorFlow Lite", "INFO: Initialized TensorFlow Lite")
_VERSION = re.compile(r"builtin opcode '([^']+)' version '(\d+)'")
_CUSTOM = re.compile(r"unresolved custom op: (\S+?)\.?(?:\s|$)")
_SELECT = re.compile(r"Select TensorFlow op.*?Node number \d+ \((?:Flex)?(\w+)\)", re.DOTALL)
_CODE = re.compile(r"builtin_code out of range: (\d+)")


def create(model: Path | bytes, *, kernels: Kernels, threads: int) -> Any:
    """Makes an interpreter with its tensors allocated, so that its delegates are applied.

    Raises:
        UsageError: the runtime cannot load the model; an unknown op is named.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    with quiet_start():
        try:
            interpreter = Interpreter(
                **content,
                num_threads=threads,
                experimental_op_resolver_type=getattr(OpResolverType, _RESOLVERS[kernels]),
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise explain(str(model) if isinstance(model, Path) else "model", error) from error
    return interpreter


def explain(path: str, error: Exception) -> UsageError:
    """One sentence for what the runtime raised; its own words where it says nothing known."""
    text = str(error)
    runtime = f"LiteRT {version('ai-edge-litert')}"
    if match := _VERSION.search(text):
        return UsageError(
            f"{path}: {runtime} does not have the op {match[1]} in version {match[2]}",
            hint="update ai-edge-litert, or convert the model again with an older converter",
        )
    if match := _SELECT.search(text):
        return UsageError(
            f"{path}: the op '{match[1]}' is TensorFlow's own; {runtime} does not have it",
            hint="convert the model again without SELECT_TF_OPS",
        )
    if match := _CUSTOM.search(text):
        return UsageError(
            f"{path}: the custom op '{match[1]}' is not one that {runtime} has",
            hint="edgekit runs built-in ops only: replace the op, then convert the model again",
        )
    if match := _CODE.search(text):
        return UsageError(
            f"{path}: the op with the code {match[1]} is newer than {runtime}, or the file is "
            "damaged",
            hint="update ai-edge-litert, or convert the model again with an older converter",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return UsageError(f"{path}: {runtime} cannot run it: {lines[0] if lines else repr(error)}")


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Drops the runtime's "delegate created" lines from stderr, and lets all others through.

    The runtime is C++ and writes to the file descriptor, so that is what is held back.
    """
    import tempfile

    try:
        saved = os.dup(2)
    except OSError:  # No stderr, no noise.
        yield
        return
    with tempfile.TemporaryFile() as held:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            _let_through(held)


def _let_through(held: Any) -> None:
    stream = cast("IO[bytes]", held)
    stream.seek(0)
    for line in stream.read().decode("utf-8", "replace").splitlines():
        if not line.startswith(_NOISE):
            print(line, file=sys.stderr)  # noqa: T201
