"""LiteRT's GPU and NPU accelerators beside run.py: its CompiledModel, and what really ran there.

`is_fully_accelerated()` is not believed: it says True where a plug-in failed and the CPU computed.
What the runtime writes to its log while it opens a model is read in its place: which ops it gives
away, which it keeps and why, and which plug-in compiled. Python 3.8 and numpy.
"""
# ruff: noqa: B905 (in the Python of 3.8)

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import re
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from edgekit.on_device.run import Fault, Session, Tflite, proc, sentence
else:
    from run import Fault, Session, Tflite, proc, sentence

__all__ = ["Compiled", "Log", "Refusal", "on_cpu", "open_session"]

_PRECISIONS = {"default": False, "float32": True}
_VENDORS = {"intel-openvino": "intel_openvino"}
_KNOWN = {"GPU": {"precision"}, "NPU": {"vendor", "graph_backend"}}
_FLOATS = "AVX512_CORE_VNNI"
"""The instructions that OpenVINO may use at most: with more, it computes floats in bfloat16."""
_WITHOUT_VNNI = ("SSE41", "AVX", "AVX2", "AVX512_CORE")
_BUFFERS = ("bool", "float16", "float32", "int8", "int32", "uint8")
_SHOWN = 3

_REFUSED = "operations are not supported by GPU delegate:\n"
_COUNTS = re.compile(
    r"^(No|\d+) operations? will run on the GPU.*?(\d+) operations? will run", re.M
)
_GPU = re.compile(r"Initializing (\w+?)(?:-based)? API from graph")
_SHAPES = re.compile(r"Shape mismatch in .*?shape:\{\w+, (\{.*?\})\} .*?shape: \{\w+, (\{.*?\})\}")
_DYNAMIC = re.compile(r"tensor#(-?\d+) is a dynamic-sized tensor")
_SELECTED = re.compile(r"selected (\d+) ops, from a total of (\d+) ops\. resulted in (\d+) part")
_APPLIED = re.compile(
    r"^.*\] (\d+) compiler plugins were applied successfully: *(.*)$", re.MULTILINE
)
_OP_TYPE = re.compile(r"op type (\d+) is not supported")
_MISSING = re.compile(r"(lib[\w.+-]+?\.so[\w.]*): cannot open shared object file")
_DEVICE = re.compile(r"Using Intel OpenVINO device: (\w+)")


def open_session(module: Any, how: Mapping[str, Any], delegate: Any) -> Session:
    """Opens a model; `delegate` says GPU or NPU, and `module` is LiteRT's interpreter."""
    kind, options = delegate["library"], delegate["options"]
    wrong = sorted(set(options) - _KNOWN[kind])
    if wrong:
        known = ", ".join(sorted(_KNOWN[kind]))
        raise Fault(f"the option {wrong[0]} is none of LiteRT's {kind}", f"it takes {known}")
    if not module.__name__.startswith("ai_edge_litert."):
        raise RuntimeError(f"{module.__name__.split('.')[0]} has no {kind}, ai-edge-litert has")
    if how["kernels"] == "reference":
        raise RuntimeError(f"the {kind} has no reference kernels")
    return Compiled(module, how, kind, options)


class Refusal:
    """An op that an accelerator does not take: its kind, why, and the tensor it is about, or ''."""

    def __init__(self, kind: str, reason: str, tensor: str = "") -> None:
        self.kind, self.reason, self.tensor = kind, reason, tensor

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


class Log:
    """What the runtime said while it opened a model."""

    def __init__(
        self, text: str, kind: str, tensors: Sequence[str], codes: Mapping[int, str]
    ) -> None:
        self.text, self.kind = text, kind
        self.taken, self.total = self._counts()
        self.refused = self._refused(tensors, codes)

    def _counts(self) -> tuple[int, int]:
        """(ops that the accelerator takes, ops of the model); (-1, -1): it takes all or none."""
        found = _COUNTS.search(self.text)
        if found:
            taken = 0 if found[1] == "No" else int(found[1])
            return taken, taken + int(found[2])
        parts = _SELECTED.findall(self.text)
        return (int(parts[0][0]), int(parts[0][1])) if parts else (-1, -1)

    def _refused(self, tensors: Sequence[str], codes: Mapping[int, str]) -> list[Refusal]:
        _, found, said = self.text.partition(_REFUSED)
        rows, names = [], sorted(filter(None, tensors), key=len, reverse=True)
        for line in said.splitlines() if found else ():
            kind, colon, reason = line.partition(": ")
            if not colon or not re.fullmatch(r"[A-Z0-9_]+|CUSTOM.*", kind) or "[" in reason:
                break
            tensor = next((name for name in names if reason.endswith(f" {name}")), "")
            reason = reason[: len(reason) - len(tensor)].strip(". ")
            rows.append(Refusal(kind, f"the GPU delegate says: {reason}", tensor))
        for code in dict.fromkeys(map(int, _OP_TYPE.findall(self.text))):
            rows.append(Refusal(codes.get(code, f"op {code}"), "the plug-in does not support it"))
        return rows

    @property
    def gpu(self) -> str:
        """What the GPU is spoken to in ('WebGPU'), '' where no op was given to it."""
        found = _GPU.search(self.text)
        return found[1] if found else ""

    @property
    def plugin(self) -> str:
        """The plug-ins that compiled a part of the model, '' where none did."""
        found = _APPLIED.findall(self.text)
        return found[-1][1].strip() if found and int(found[-1][0]) else ""

    @property
    def wrong(self) -> str:
        """Why what the accelerator computes would be wrong; '' where nothing speaks against it."""
        shapes = _SHAPES.search(self.text)
        if not shapes:
            return ""
        return (
            f"it makes the output of a convolution {shapes[2]} where the model's is {shapes[1]}, "
            "and so would compute wrong values (known of quantized 1x1 convolutions with a "
            "stride, which a float model computes well)"
        )

    def failed(self, names: Mapping[int, str]) -> str:
        """Why the accelerator does not run the model, as far as the log tells; else ''."""
        dynamic = _DYNAMIC.search(self.text)
        if "No adapters found" in self.text:
            return "no GPU is found (no adapter), or it has no Vulkan driver"
        if dynamic:
            name = names.get(int(dynamic[1]), "a tensor")
            return f"the size of {name} is known only while the model runs, and it needs it before"
        return "" if self.kind == "GPU" else self._plugin_failed()

    def _plugin_failed(self) -> str:
        # The plug-in's own errors come first; those of its loader name a library.
        device, parts = _DEVICE.findall(self.text), _SELECTED.search(self.text)
        lost = _MISSING.search(self.text)
        if parts and int(parts[3]) > 1 and len(set(device)) > 1:
            taken = f"the model falls into {parts[3]} parts, and LiteRT compiles the first one for"
            return f"{taken} {device[0]} and the next one for {device[-1]}{self.why()}"
        if lost:
            own = "of another version, or not installed" if "openvino.so" in lost[1] else "missing"
            return f"its plug-in needs {lost[1]}, which is {own}"
        if parts and not int(parts[1]):
            return f"it takes none of the model's ops{self.why()}"
        said = re.findall(r"(?:Exception in compilation: |Plugin errs: )(.*)", self.text)
        return f"its plug-in fails: {said[0].strip()[:200]}" if said else ""

    def why(self) -> str:
        """': CAST (...), MUL (...)': what it does not take; '' where it does not say."""
        said = [*dict.fromkeys(map(str, self.refused))]
        more = ["and others"] if said[_SHOWN:] else []
        return f": {', '.join(said[:_SHOWN] + more)}" if said else ""


class Compiled(Tflite):
    """A CompiledModel; of run.py's interpreter only what it tells of the graph is used."""

    def __init__(
        self, module: Any, how: Mapping[str, Any], kind: str, options: Mapping[str, Any]
    ) -> None:
        self.kernels, self._kind, self._taken = how["kernels"], kind, 0
        plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._native = module.Interpreter(
            model_path=how["path"], experimental_op_resolver_type=plain
        )
        Session.__init__(self, how, inputs=self._specs("input"), outputs=self._specs("output"))
        self._check_inputs()
        litert: Any = importlib.import_module("ai_edge_litert.compiled_model")
        own, folders = _own_options(litert, kind, options)
        if options.get("graph_backend") == "CPU":
            os.environ.setdefault("ONEDNN_MAX_CPU_ISA", _FLOATS)
            self._check_sums()
        self._tensors = {d["index"]: d["name"] for d in self._native.get_tensor_details()}
        with _heard() as heard:
            try:
                self._open(litert, how, own, folders)
                failure = ""
            except Exception as error:  # What it raises is the end of a long story in its log.
                failure = sentence(error)
        self.log = Log(heard[0], kind, [*self._tensors.values()], _codes())
        self._judge(failure, strict=how["strict"])

    def _check_inputs(self) -> None:
        for spec in (*self.inputs, *self.outputs):
            if spec["dtype"] not in _BUFFERS:
                raise RuntimeError(f"'{spec['name']}' is {spec['dtype']}, which it cannot pass on")
        for spec in self.inputs:
            if None in spec["shape"][1:]:
                raise RuntimeError(
                    f"the input '{spec['name']}' has the open shape {spec['shape']}, and it needs "
                    "a fixed one"
                )

    def _check_sums(self) -> None:
        made = {t.__name__ for row in self._native._get_ops_details() for t in row["result_types"]}
        flags, most = proc("cpuinfo", "flags").split(), os.environ.get("ONEDNN_MAX_CPU_ISA", "")
        because = _overflows(flags, most) if made & {"int8", "uint8"} else ""
        if because:
            raise RuntimeError(
                f"OpenVINO's int8 sums overflow on this processor ({because}); a float model's do "
                "not"
            )

    def _open(
        self, litert: Any, how: Mapping[str, Any], own: Mapping[str, Any], folders: Any
    ) -> None:
        cpu = litert.CpuOptions(num_threads=how["threads"])
        if how["kernels"] == "builtin":
            cpu.kernel_mode = litert.CpuKernelMode.BUILTIN
        wanted = litert.HardwareAccelerator[self._kind] | litert.HardwareAccelerator.CPU
        model = self._model = litert.CompiledModel.from_file(
            how["path"],
            environment=litert.Environment.create(**folders),
            options=litert.Options(wanted, cpu, **own),
        )
        signature = model.get_signature_by_index(0)
        self._buffers = [model.create_input_buffers(0), model.create_output_buffers(0)]
        sides: Any = ((self.inputs, "inputs"), (self.outputs, "outputs"))
        places = [[signature[key].index(s["name"]) for s in specs] for specs, key in sides]
        self._writes = [self._buffers[0][place] for place in places[0]]
        self._reads = []
        for place, spec in zip(places[1], self.outputs):
            shape = [size or 1 for size in spec["shape"]]
            count, dtype = int(self.np.prod(shape)), self.np.dtype(spec["dtype"]).type
            self._reads.append((self._buffers[1][place], count, dtype, shape))

    def _judge(self, failure: str, *, strict: bool) -> None:
        """Raises what the log says against the model; nothing is taken for granted."""
        log = self.log
        self.label = log.gpu if self._kind == "GPU" else "OpenVINO" if log.plugin else ""
        said = log.wrong
        if failure or not self.label or not log.taken:
            said = said or log.failed(self._named()) or failure
            said = said or f"it takes none of the model's ops{log.why()}"
        if said:
            raise RuntimeError(said)
        if log.total < 0 and not self._model.is_fully_accelerated():
            raise RuntimeError("it is said not to take the whole model, and not what it takes")
        left = log.total - log.taken
        if strict and left:
            raise RuntimeError(f"it leaves {left} of {log.total} ops to the CPU{log.why()}")

    def _named(self) -> dict[int, str]:
        """The tensors for a sentence; -1 is one that follows from an open input."""
        opened = [spec for spec in self.inputs if None in spec["shape"]]
        said = [f"what follows from the open shape {s['shape']} of '{s['name']}'" for s in opened]
        return {**{i: f"'{name}'" for i, name in self._tensors.items()}, -1: (*said, "a tensor")[0]}

    def ran(self) -> str:
        return "delegate"

    def once(self, block: Sequence[Any]) -> list[Any]:
        for buffer, array, spec, shape in zip(self._writes, block, self.inputs, self._shapes):
            if (array.shape, array.dtype) != (shape, spec["dtype"]):
                wanted = f"{spec['dtype']} {shape}, not {array.dtype} {array.shape}"
                raise ValueError(f"'{spec['name']}' is {wanted}")
            buffer.write(array)
        return self._run()

    def _run(self) -> list[Any]:
        self._model.run_by_index(0, *self._buffers)
        # Reading waits for the accelerator, which may still be at work: it is part of the time.
        return [
            buffer.read(count, dtype).reshape(shape) for buffer, count, dtype, shape in self._reads
        ]

    def repeat(self) -> Any:
        return self._run

    def placement(self) -> tuple[list[list[Any]], str]:
        """Every op where the log and the graph agree on it; else how many, and no more."""
        ops, _ = Tflite.placement(self)
        log, rows = self.log, self._native._get_ops_details()
        left = on_cpu(rows, self._tensors, log, one_part=self._kind == "GPU")
        if left is None:
            said = f"{log.taken} of {log.total} ops run on {self.label}"
            return [], f"{said}; which, LiteRT does not say ({len(ops)} ops in the file)"
        for op in ops:
            op[2:] = [self.label, op[3], ""] if op[0] not in left else ["CPU", op[3], left[op[0]]]
        return ops, ""


def on_cpu(
    rows: Sequence[Any], names: Mapping[int, str], log: Log, *, one_part: bool
) -> Mapping[int, str] | None:
    """The ops that stay on the CPU by their number, with the reason; None where nobody knows.

    `one_part`: the accelerator takes only the largest part of the graph that it could.
    """
    if log.taken == log.total:
        return {}
    left = {row["index"]: why for row in rows for why in [_refusal(row, names, log)] if why}
    if one_part and len(rows) - len(left) > log.taken:
        parts = sorted(_parts(rows, left), key=len)
        if len(parts) > 1 and len(parts[-2]) == len(parts[-1]):
            return None
        why = "the GPU takes one part of the graph, the largest, and this is in another"
        for part in parts[:-1]:
            left.update(dict.fromkeys(part, why))
    counted = (len(rows) - len(left), len(rows)) == (log.taken, log.total)
    return left if counted else None


def _refusal(row: Any, names: Mapping[int, str], log: Log) -> str:
    own = [refusal for refusal in log.refused if refusal.kind == row["op_name"]]
    known = {names.get(int(tensor), "") for tensor in (*row["inputs"], *row["outputs"])}
    return next((one.reason for one in own if not one.tensor or one.tensor in known), "")


def _parts(rows: Sequence[Any], left: Mapping[int, str]) -> list[list[int]]:
    """The parts that an accelerator could take, cut as TFLite cuts them: each goes on as long as
    an op of its side is ready."""
    made = {int(tensor) for row in rows for tensor in row["outputs"]}
    waiting, parts = list(rows), []
    while waiting:
        part: list[int] = []
        side, before = waiting[0]["index"] in left, -1
        ready = [row for row in waiting if not made & {*map(int, row["inputs"])}]
        side = (ready or waiting)[0]["index"] in left
        while len(part) > before:
            before = len(part)
            for row in list(waiting):
                own = (row["index"] in left) == side
                if own and not made & {*map(int, row["inputs"])}:
                    part.append(row["index"])
                    waiting.remove(row)
                    made -= {*map(int, row["outputs"])}
        if not part:
            return []  # No graph that runs: an op waits for itself.
        if not side:
            parts.append(part)
    return parts


def _own_options(
    litert: Any, kind: str, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What CompiledModel is told, and where the plug-ins are."""
    if kind == "GPU":
        wanted = _one_of("precision", options, _PRECISIONS)
        return {"gpu_options": litert.GpuOptions(enforce_f32=_PRECISIONS[wanted])}, {}
    vendor = _one_of("vendor", options, _VENDORS)
    backends: Any = litert.IntelOpenVinoOptions.GRAPH_BACKEND
    backend = _one_of("graph_backend", {"graph_backend": "NPU", **options}, backends.__members__)
    folder = os.path.join(os.path.dirname(litert.__file__), "vendors", _VENDORS[vendor])
    paths = {"compiler_plugin_path": "compiler", "dispatch_library_path": "dispatch"}
    own = litert.IntelOpenVinoOptions(graph_backend=backends[backend])
    return {"intel_openvino_options": own}, {k: os.path.join(folder, v) for k, v in paths.items()}


def _one_of(key: str, options: Mapping[str, Any], known: Any) -> str:
    value = str(options.get(key, next(iter(known))))
    if value not in known:
        raise Fault(f"{key} '{value}' is not known", f"it is one of {', '.join(known)}")
    return value


def _overflows(flags: Sequence[str], most: str) -> str:
    """Why OpenVINO's sums of int8 products overflow in 16 bits on this processor; '' else.

    `most` is ONEDNN_MAX_CPU_ISA: the instructions that it may use at most.
    """
    allowed = {"avx_vnni"} if most == "AVX2_VNNI" else {"avx_vnni", "avx512_vnni"}
    if most in _WITHOUT_VNNI:
        return f"ONEDNN_MAX_CPU_ISA is {most}"
    return "" if not flags or allowed & {*flags} else "it has no VNNI"


def _codes() -> dict[int, str]:
    """The names of TFLite's built-in ops by their number."""
    with contextlib.suppress(Exception):  # Without them, a number is shown.
        schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
        known = vars(schema.BuiltinOperator).items()
        return {code: name for name, code in known if isinstance(code, int)}
    return {}


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What libraries print to stdout and stderr meanwhile, as the list's only item.

    None of it may get between what run.py prints, which may be JSON.
    """
    heard, flush = [""], getattr(ctypes.CDLL(None), "fflush", None)
    sys.stdout.flush()
    with tempfile.TemporaryFile() as file:
        before = [os.dup(descriptor) for descriptor in (1, 2)]
        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield heard
        finally:
            if flush:
                flush(None)  # C has a buffer of its own.
            for descriptor, kept in zip((1, 2), before):
                os.dup2(kept, descriptor)
                os.close(kept)
            file.seek(0)
            heard[0] = file.read().decode("utf-8", "replace")
