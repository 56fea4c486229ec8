"""The server of the device `edgetpu`: says where ops would run, and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.op_table import load_op_table
from edgekit.devices import _edgetpu_compile as compiler
from edgekit.devices._edgetpu_rules import CACHE_BYTES, parameter_bytes, place
from edgekit.devices.edgetpu import OP_TABLE
from edgekit.errors import EdgekitError
from edgekit.on_device import run, serve
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.devices._edgetpu_compile import Compiled
    from edgekit.frameworks.tflite import TfliteModel

__all__ = ["EdgeTpuSession", "main", "open_model"]

RUNTIME = "none (the Edge TPU is not executed)"
BY_RULES = (
    f"by the rules of the compiler's documentation; {compiler.PROGRAM} is not on PATH: not compiled"
)
_KERNELS = "ai_edge_litert"


def open_model(model: str, threads: int = 1, **given: Any) -> EdgeTpuSession:
    """Looks at a model, and compiles it where the compiler is there; what `serve.Server` calls."""
    from edgekit.frameworks.tflite import read_model

    own = {key: value for key, value in dict(given.get("options") or {}).items() if value}
    if own:
        raise run.Fault(f"the option {next(iter(own))} is none for the Edge TPU")
    try:
        graph, program = read_model(Path(model)), compiler.find()
        made = compiler.compile_model(Path(model), program) if program else None
    except EdgekitError as error:
        raise run.Fault(error.message, error.hint, error.exit_code) from None
    return EdgeTpuSession({"kernels": "reference", "path": model, "threads": threads}, graph, made)


class EdgeTpuSession(run.Tflite):
    """A model with the places of its ops; LiteRT only says what goes in and what comes out."""

    def __init__(self, how: Mapping[str, Any], graph: TfliteModel, made: Compiled | None) -> None:
        module = run.load(_KERNELS)
        try:
            super().__init__(module, {"inputs": [], "outputs": [], **how}, None)
        except (RuntimeError, ValueError) as error:
            raise run.Fault(f"LiteRT does not open it: {run.sentence(error)}", code=3) from None
        self.runtime, self.load_ns, self._made = RUNTIME, 0, made
        self.version = f"{compiler.PROGRAM} {made.version}" if made else ""
        self.attempts = [{"what": compiler.PROGRAM, "ok": True, "reason": ""}] if made else []
        self._rows = list(made.rows) if made else place(graph, load_op_table(OP_TABLE))
        self._parameters = parameter_bytes(graph)

    def placement(self) -> tuple[list[Any], str]:
        """By the compiler's log, or by its documentation, which is said."""
        said = "" if self._made else BY_RULES
        if self._parameters > CACHE_BYTES:
            big = f"{format_bytes(self._parameters)} of parameters, and the Edge TPU keeps "
            big += f"{format_bytes(CACHE_BYTES)}: the rest is sent for every inference"
            said = "; ".join(filter(None, (said, big)))
        return [list(row) for row in self._rows], said

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Runs nothing."""
        what = "the Edge TPU is not executed here, and nothing else computes what it does"
        raise run.Fault(what, "run the compiled model on a board with an Edge TPU", 3)

    def figures(self) -> list[dict[str, Any]]:
        """The bytes of parameters, as the compiler says or as the file has them."""
        source = (
            f"{compiler.PROGRAM} {self._made.version}" if self._made else "the file's constants"
        )
        sizes = self._made.memory if self._made else (("parameters", self._parameters),)
        kind = {"unit": "bytes", "kind": "estimated", "reason": source}
        return [{"name": name, "value": size, **kind} for name, size in sizes]


def main() -> None:
    """Serves stdin."""
    serve.Server(open_model).run()


if __name__ == "__main__":
    main()
