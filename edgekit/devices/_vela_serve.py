"""The server of the device `vela`: compiles what it opens, computes with the reference kernels."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.devices._vela_compile import Compiled, Compiler, compile_model
from edgekit.devices._vela_placement import place
from edgekit.devices.vela import Options, compiler
from edgekit.errors import EdgekitError
from edgekit.on_device import run, serve

if TYPE_CHECKING:
    from edgekit.frameworks.tflite import TfliteModel

__all__ = ["Opener", "VelaSession", "main"]

RUNTIME = "reference kernels (the NPU is not executed)"
_KERNELS = "ai_edge_litert"
_FIXED = "fix the shapes when the model is converted: --input NAME=1x... of compress"


class Opener:
    """Opens a model for one accelerator: what `serve.Server` calls."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def __call__(self, model: str, threads: int = 1, **given: Any) -> VelaSession:
        """Compiles the model, then opens it as it was before that."""
        from edgekit.frameworks.tflite import read_model

        own = {key: value for key, value in dict(given.get("options") or {}).items() if value}
        if own:
            raise run.Fault(f"the option {next(iter(own))} is none for Vela")
        try:
            graph = read_model(Path(model))
            _check_shapes(graph)
            made = compiler(self._options)
            compiled = compile_model(Path(model), made)
        except EdgekitError as error:
            raise run.Fault(error.message, error.hint, error.exit_code) from None
        how = {"kernels": "reference", "path": model, "threads": threads}
        return VelaSession(how, graph, compiled, made, self._options.npu)


def _check_shapes(graph: TfliteModel) -> None:
    """Vela compiles one shape: an open batch axis is one sample, any other axis is refused."""
    for index in graph.subgraphs[0].inputs:
        tensor = graph.subgraphs[0].tensors[index]
        if None in tensor.shape_signature[1:]:
            shape = ", ".join("?" if n is None else str(n) for n in tensor.shape_signature)
            what = (
                f"input '{tensor.name}' has an open shape ({shape}), and Vela compiles fixed ones"
            )
            raise run.Fault(what, _FIXED, 3)


class VelaSession(run.Tflite):
    """The model before Vela on the reference kernels, with what Vela says of it."""

    def __init__(
        self,
        how: Mapping[str, Any],
        graph: TfliteModel,
        compiled: Compiled,
        made_by: Compiler,
        npu: str,
    ) -> None:
        module = run.load(_KERNELS)
        try:
            super().__init__(module, {"inputs": [], "outputs": [], **how}, None)
        except (RuntimeError, ValueError) as error:
            said = run.sentence(error)
            what = f"the reference kernels, which stand for the NPU, do not run it: {said}"
            raise run.Fault(what, code=3) from None
        self.runtime, self.version = RUNTIME, f"ai-edge-litert {run.installed(_KERNELS)}"
        self.attempts = [{"what": made_by.title, "ok": True, "reason": ""}]
        self.load_ns, self._compiled, self._by, self._npu = 0, compiled, made_by, npu
        self._rows = place(graph, compiled.graph, compiled.refusals, npu)

    def placement(self) -> tuple[list[Any], str]:
        """Read from the file that Vela left."""
        return [list(row) for row in self._rows], ""

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Computes, where the NPU would compute anything at all."""
        if not self._compiled.delegates:
            reasons = Counter(row[4] for row in self._rows if row[4])
            why = f": {reasons.most_common(1)[0][0]}" if reasons else ""
            what = f"{self._by.title} left all {len(self._rows)} ops on the CPU{why}"
            hint = "`edgekit inspect MODEL --target NAME` lists each op with Vela's reason"
            raise run.Fault(what, hint, 3)
        found: list[Any] = super().run(arrays)
        return found

    def figures(self) -> list[dict[str, Any]]:
        """Vela's estimates. Ops on the CPU are not in them, so then no whole latency is there."""
        told, left = self._compiled.summary, sum(row[2] == "CPU" for row in self._rows)
        clock = f"{told.clock_hz / 1e6:g} MHz"
        source = f"{self._by.title}, {told.system}, {clock}"
        if left:
            source += f"; without the {left} op{'s' * (left > 1)} on the CPU"
        rows = [
            ("NPU time" if left else "latency", told.time_ns, "ns"),
            ("SRAM" if left else "memory", told.sram_bytes, "bytes"),
            ("DRAM", told.dram_bytes, "bytes"),
            ("flash", told.flash_bytes, "bytes"),
            ("NPU cycles", told.cycles, "cycles"),
            ("NPU MACs", told.macs, ""),
        ]
        # No cycles: nothing is on the NPU. No bytes: the system has no such memory.
        kept = [row for row in rows if row[1]] if told.cycles else []
        keys = ("name", "value", "unit")
        figures = [
            {**dict(zip(keys, row, strict=True)), "kind": "estimated", "reason": source}
            for row in kept
        ]
        size = self._compiled.model.stat().st_size
        said = f"the .tflite that {self._by.title} wrote"
        own = {"name": "compiled model", "value": size, "unit": "bytes", "kind": "measured"}
        return [*figures, {**own, "reason": said}]


def main(words: Sequence[str]) -> None:
    """Serves one accelerator; `words` are its options as JSON."""
    serve.Server(Opener(Options(**json.loads(words[0])))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
