"""TensorFlow Lite Micro beside run.py: its interpreter, compiled for this machine.

The kernels are the plain C++ ones that a microcontroller runs, so the values are those of one; the
time is not, and the arena is larger: pointers have 64 bits here. TFLM checks little and may end its
process, and how large an arena must be is known by trying only. So every model is tried in a child
first; what TFLM prints there is the reason where it does not run. Python 3.8 and numpy.
"""
# ruff: noqa: B905 (in the Python of 3.8)

from __future__ import annotations

import os
import re
import signal
import tempfile
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from edgekit.on_device.run import Fault, Session, sentence
else:
    from run import Fault, Session, sentence

__all__ = ["Tflm", "open_session"]

_CHILD_SECONDS = 300
_MOST_BYTES = 2**30
_STEP = 16
"""TFLM aligns what is in the arena to so many bytes."""
_RUNS = b"edgekit: it runs\n"
_RECORD = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_FULL = re.compile(r"Failed to (?:allocate|resize)|bytes required|Unable to allocate")
_NODE = re.compile(r"Node (\w+) \(number (\d+)\w*\) failed to (prepare|invoke)")
_UNKNOWN = re.compile(r"(?:builtin opcode '|from op code )(\w+)")
_PLACE = re.compile(r"^\S+\.(?:cc|h)(?::\d+)? ")
_HINT = "it runs int8, int16x8 and float32 models of its own ops: compress with the recipe int8"
_WHOLE = "pointers have 64 bits here, a microcontroller's tail is smaller"


def open_session(module: Any, how: Mapping[str, Any], delegate: Any) -> Session:
    """Opens a model; `module` is tflite_micro, which knows no delegates.

    The option `arena` is a number of bytes, or None for as many as the model needs.
    """
    if delegate:
        raise Fault("it takes no delegate", "take the delegate out of the target")
    with open(how["path"], "rb") as file:
        trial = _Trial(module.runtime, file.read())
    asked = how["options"].get("arena")
    if asked is not None and (not isinstance(asked, int) or not 0 < asked <= _MOST_BYTES):
        raise Fault(f"arena {asked}: is no number of bytes up to {_MOST_BYTES}")
    roomy = trial.roomy()
    if asked is not None and not trial.runs(asked):
        least = trial.least(roomy)
        said = f"arena {asked} bytes: is too small, the model needs {least} here"
        raise Fault(said, f"arena = '{least} B' in the target's options, or none; {_WHOLE}", 3)
    return Tflm(how, trial, asked or roomy)


class Tflm(Session):
    """A .tflite model in TFLM's interpreter. Every op runs in a kernel of its own: on the CPU."""

    kernels = "reference"

    def __init__(self, how: Mapping[str, Any], trial: _Trial, arena: int) -> None:
        self._trial, self._arena = trial, arena
        self._last: Sequence[Any] = ()
        self._native = trial.interpreter(arena)
        sides = {side: self._specs(side) for side in ("inputs", "outputs")}
        super().__init__(how, **sides)

    def _specs(self, side: str) -> list[Any]:
        """(position, spec); TFLM keeps no names, so they are read from the file."""
        model, details = self._trial.model, getattr(self._native, f"get_{side[:-1]}_details")
        numbers, pairs = [*getattr(model.subgraphs[0], side)], []
        names: dict[int, str] = {}
        for signature in model.signatureDefs or ():
            own = {pair.tensorIndex: _text(pair.name) for pair in getattr(signature, side) or ()}
            if not names and {*own} == {*numbers}:
                names = own
        for position, number in enumerate(numbers):
            found = details(position)
            scales = found["quantization_parameters"]["scales"].tolist()
            zeros = found["quantization_parameters"]["zero_points"].tolist()
            name = names.get(number) or _text(model.subgraphs[0].tensors[number].name)
            spec = {
                "name": name,
                "shape": [int(size) for size in found["shape"]],
                "dtype": found["dtype"].__name__,
                "scale": scales[0] if len(scales) == 1 and scales[0] else None,
                "zero_point": zeros[0] if len(scales) == 1 and scales[0] else None,
            }
            pairs.append((position, spec))
        return pairs

    def once(self, block: Sequence[Any]) -> list[Any]:
        """One inference."""
        self._last = block
        for position, array in zip(self._in, block):
            self._native.set_input(array, position)
        self._native.invoke()
        return [self._native.get_output(position) for position in self._out]

    def repeat(self) -> Any:
        """The inputs go in again: TFLM may have put other values where they were."""
        return lambda: self.once(self._last)

    def placement(self) -> tuple[list[list[Any]], str]:
        """Every op of the file, for there is no other place than TFLM's kernels."""
        graph, code_names = self._trial.model.subgraphs[0], self._trial.code_names()
        made = {tensor for op in graph.operators for tensor in op.outputs}
        ops = []
        for index, op in enumerate(graph.operators):
            first = [t for t in op.inputs if t in made or t in graph.inputs][:1]
            kinds = [self._trial.dtype(t) for t in (*first, *op.outputs[:1])]
            dtype = " to ".join(dict.fromkeys(kinds))
            ops.append([index, code_names[op.opcodeIndex], "CPU", dtype, "TFLM has no delegates"])
        return ops, ""

    def figures(self) -> list[dict[str, Any]]:
        """The arena: the least that the model runs in, and its two ends by TFLM's own record."""
        least, record = self._trial.least(self._arena), self._trial.record
        why = f"the arena, the least that it runs in; {_WHOLE}"
        if least > record["total"]:
            why += f"; {record['total']} of it hold something afterwards, as TFLM records"
        return [
            _figure("memory", least, why),
            _figure("arena head (activations)", record["head"], "as TFLM records it"),
            _figure("arena tail (persistent)", record["tail"], f"as TFLM records it; {_WHOLE}"),
        ]


class _Trial:
    """Tries a model in arenas; `model` is what the file says, `record` what the last good one took.

    Only the first trial may be the model's fault, so `roomy` comes first.
    """

    def __init__(self, module: Any, data: bytes) -> None:
        self._module, self._data = module, data
        self.said, self.record, self._least = "", {"total": 0, "head": 0, "tail": 0}, 0
        self.model = module.convert_bytearray_to_object(data)
        self._schema = module.schema_fb

    def interpreter(self, arena: int) -> Any:
        """An interpreter in this process."""
        return self._module.Interpreter.from_bytes(self._data, arena_size=arena)

    def code_names(self) -> list[str]:
        """The kind of op behind each operator code."""
        kinds = vars(self._schema.BuiltinOperator).items()
        names = {value: name for name, value in kinds if isinstance(value, int)}
        codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in self.model.operatorCodes]
        return [names.get(code, f"op {code}") for code in codes]

    def dtype(self, tensor: int) -> str:
        """The name of a tensor's type."""
        kinds = vars(self._schema.TensorType).items()
        names = {value: name.lower() for name, value in kinds if isinstance(value, int)}
        return str(names.get(self.model.subgraphs[0].tensors[tensor].type, "unknown"))

    def roomy(self) -> int:
        """The bytes of an arena that is large enough; a Fault where the model runs in none."""
        arena = self._guess()
        while not self.runs(arena):
            if not _FULL.search(self.said) or arena >= _MOST_BYTES:
                raise self._fault()
            arena = min(4 * arena, _MOST_BYTES)
        return arena

    def least(self, enough: int) -> int:
        """The least arena in which it runs, to 16 bytes; `enough` is one that is known to do."""
        if not self._least:
            below, enough = max(0, self.record["total"] - _STEP), -(-enough // _STEP) * _STEP
            below -= below % _STEP
            middle = below + _STEP  # What is recorded mostly is enough, so it is tried first.
            while enough - below > _STEP:
                below, enough = (below, middle) if self.runs(middle) else (middle, enough)
                middle = (below + enough) // 2 // _STEP * _STEP
            self._least = enough
        return self._least

    def runs(self, arena: int) -> bool:
        """Whether a child gets through an inference of zeros; `said` is what it printed."""
        with tempfile.TemporaryFile() as out:
            with warnings.catch_warnings():  # The server's other thread only waits.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
                if child == 0:
                    self._in_child(arena, out.fileno())
            status = os.waitpid(child, 0)[1]
            out.seek(0)
            printed = out.read(2**16)
        self.said = printed.decode("utf-8", "replace")
        if os.WIFSIGNALED(status):
            ended = f"it ends the process (signal {os.WTERMSIG(status)})"
            late = f"an inference takes over {_CHILD_SECONDS} s"
            self.said += "\n" + (late if os.WTERMSIG(status) == signal.SIGALRM else ended)
        if not printed.endswith(_RUNS):
            return False
        self.record = {name: int(size) for name, size in _RECORD.findall(self.said)}
        return True

    def _in_child(self, arena: int, out: int) -> None:
        try:
            os.dup2(out, 1)
            os.dup2(out, 2)
            signal.alarm(_CHILD_SECONDS)  # Nothing goes on for ever where the parent is gone.
            native = self.interpreter(arena)
            _feed_zeros(native, len(self.model.subgraphs[0].inputs))
            native.invoke()
            native.print_allocations()
            os.write(1, _RUNS)
        except BaseException as error:  # Of pybind11 and of a damaged file: whatever it is.
            os.write(2, f"{sentence(error)}\n".encode())
        finally:
            os._exit(0)

    def _guess(self) -> int:
        """Ample: all that ops write, twice, and some room for each tensor and op."""
        total = 2**16
        for graph in self.model.subgraphs:
            written = {int(t) for op in graph.operators or () for t in op.outputs}
            for number in {*written, *graph.inputs}:
                size = 8
                for count in graph.tensors[number].shape:
                    size *= max(1, int(count))
                total += 2 * size
            total += 512 * len(graph.tensors) + 1024 * len(graph.operators or ())
        return min(total, _MOST_BYTES)

    def _fault(self) -> Fault:
        node, why = _NODE.search(self.said), explain(self.said)
        if node and self._takes_float16(int(node.group(2))):
            why = f"its {node.group(1)}, op {node.group(2)} of the model, has float16 values"
        return Fault(f"TensorFlow Lite Micro does not run it: {why}", _HINT, 3)

    def _takes_float16(self, number: int) -> bool:
        ops = self.model.subgraphs[0].operators
        read = ops[number].inputs if number < len(ops) else ()
        return "float16" in [self.dtype(tensor) for tensor in read if tensor >= 0]


def explain(said: str) -> str:
    """What TFLM prints as half a sentence, with the op that it is about."""
    lines = [_PLACE.sub("", line.strip()) for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith("TFLM failed")]
    unknown, node = _UNKNOWN.search(said), _NODE.search(said)
    if unknown:
        return f"it has no op {unknown.group(1)}"
    reasons = [line.rstrip(".") for line in lines if not _NODE.match(line)]
    reason = (reasons or ["it gives no reason"])[0][:200]
    if node:
        return f"its {node.group(1)}, op {node.group(2)} of the model, refuses: {reason}"
    return reason


def _feed_zeros(native: Any, count: int) -> None:
    import numpy

    for position in range(count):
        found = native.get_input_details(position)
        native.set_input(numpy.zeros(found["shape"], found["dtype"]), position)


def _figure(name: str, value: int, reason: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": "bytes", "kind": "measured", "reason": reason}


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
