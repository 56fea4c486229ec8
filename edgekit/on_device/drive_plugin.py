"""An execution provider of ONNX Runtime beside run.py, without a silent way back to the CPU.

The delegate's option `plugin` is a Python module that brings the provider's library
(onnxruntime_qnn), or '' where this build of ONNX Runtime has the provider within (OpenVINO, WebGpu,
CUDA); all other options are the provider's own. The first session forbids the CPU. Where that fails
because ops are left, a second one may use it, and its log says why; the third is as silent as the
first. Providers that cannot start leave a session that runs all the same, on the CPU: that is an
error here. A provider that is built in is profiled in a first inference of zeros, because some
releases name few of its ops when they are asked. An open batch axis becomes 1: run.py runs sample
by sample, and many providers compile fixed shapes only. Python 3.8 and numpy.
"""
# ruff: noqa: B905 (in the Python of 3.8)

from __future__ import annotations

import json
import os
import re
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from edgekit.on_device.run import Fault, Onnx, load
else:
    from run import Fault, Onnx, load

__all__ = ["Plugin", "executed", "explain", "open_session", "refusals"]

_SUFFIX = "ExecutionProvider"
_NO_CPU = "session.disable_cpu_ep_fallback"
_DISABLED = "fallback to CPU EP has been explicitly disabled"
_VERBOSE, _FATAL = 0, 4
_WAYS = ((True, _FATAL), (False, _VERBOSE), (False, _FATAL))
"""Whether the provider is alone, and the log: the second one talks in each inference."""
_LOG_BYTES = 2**26
_MOST_OPS = 4
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_WHEELS = ("CUDA", "Tensorrt")
_CHOOSES = re.compile(r"(AUTO|HETERO|MULTI|BATCH)\b")
"""Devices by which OpenVINO decides for itself where ops run, and does not say."""

_LEAD = re.compile(
    r"^.* was false\. ?|^.*\[ERROR\] (?:\[\w+\] )?|^.*\[ONNXRuntimeError\] : \d+ : \w+ : ",
    re.DOTALL,
)
_STYLE = re.compile(r"\x1b?\[[0-9;]*m")
_ERROR = re.compile(r"^.*\[(?:ERROR|E:onnxruntime[^\]]*)\] .+", re.MULTILINE)
_TWICE = re.compile(r"\.\w+ node `.*")
_KERNEL = "_kernel_time"
_FLOATS = {"float": "float32", "double": "float64"}
_UNIT = re.compile(
    r"failed for node `[^`]*` of type `(?P<kind>\w+)` with error code (?P<code>\d+)"
    r"|Validation FAILED for \d+ nodes in OrtNodeUnit \(\w+\) :\n"
    r"(?P<nodes>(?:\tOperator type: [^\n]*\n)+)\tREASON : (?P<reason>[^\n]*)"
    r"|(?P<passed>Validation PASSED)"
)
_NODE = re.compile(r"Operator type: (\w+) Node name: (.*) Node index: \d+$", re.MULTILINE)
_WORDS = {
    "Cannot get shape": "its shape is open, and it takes fixed shapes only: compress the model "
    "with --input NAME=1x3x224x224",
    "QNN EP is configured to not take Q nodes that consume a graph input.": "the option "
    "offload_graph_io_quantization leaves it to the CPU",
}


def open_session(module: Any, how: Mapping[str, Any], delegate: Any) -> Plugin:
    """Opens a model; `module` is onnxruntime.

    Raises:
        Fault: the provider is not there, does not start, or with `strict` leaves an op to the CPU.
    """
    options = {str(key): str(value) for key, value in delegate["options"].items()}
    provider = _Provider(module, delegate["library"], options.pop("plugin", ""), options)
    session = Plugin(module, how, provider)
    left = [op for op in session.placement()[0] if op[2] == "CPU"]
    if left and how["strict"]:
        raise Fault(f"it leaves {_listed(left)}", "without strict they run on the CPU", 1)
    return session


class Plugin(Onnx):
    """A model in a session with one provider; `reasons` is why it did not take ops, by name."""

    def __init__(self, module: Any, how: Mapping[str, Any], provider: _Provider) -> None:
        self.label = provider.label
        self.reasons: Mapping[Any, str] = {}
        self._ran: Sequence[Any] = ()
        with tempfile.TemporaryDirectory() as folder:
            self._native = native = self._session(provider, how, folder)
            self._specified(how)
            with _Heard():
                self._ran = provider.record(native, self._zeros)

    def _session(self, provider: _Provider, how: Mapping[str, Any], folder: str) -> Any:
        """A session without the CPU or, where ops are left, one that says which."""
        native, fixed = None, _open_batches(provider.module, how["path"])
        for alone, log in _WAYS:
            heard = _Heard()
            try:
                with heard:
                    native = provider.session(how, fixed, folder, alone=alone, log=log)
            except Exception as error:  # The errors of the runtime have no base of their own.
                if alone and _DISABLED in str(error):
                    continue
                raise Fault(explain(str(error), heard.text), code=1) from None
            if f"{self.label}{_SUFFIX}" not in native.get_providers():
                raise Fault(f"it does not start here: {explain('', heard.text)}", code=1)
            self.reasons = self.reasons or refusals(heard.text)
            if alone:
                break
        return native

    def _specified(self, how: Mapping[str, Any]) -> None:
        native: Any = self._native
        super(Onnx, self).__init__(
            how,
            inputs=[*map(self._spec, native.get_inputs())],
            outputs=[*map(self._spec, native.get_outputs())],
        )

    def placement(self) -> tuple[list[list[Any]], str]:
        """To which provider the session gave each op of the model, after it rewrote the graph.

        What ran is another list, in which a part that was compiled is a single op: the longer one.
        """
        try:
            parts = self._native.get_provider_graph_assignment_info()
        except Exception as error:  # Releases before 1.24, and .ort files.
            return [], f"this ONNX Runtime does not say: {explain(str(error), '')}"
        placed = [
            (re.sub(f"{_SUFFIX}$", "", part.ep_name), node.op_type, node.name, "unknown")
            for part in parts
            for node in part.get_nodes()
        ]
        seen = self._ran if len(self._ran) > len(placed) else placed
        return [
            [number, kind, where, dtype, self._reason(where, kind, name)]
            for number, (where, kind, name, dtype) in enumerate(seen)
        ], ""

    def _reason(self, where: str, kind: str, name: str) -> str:
        unsaid = f"{self.label} did not take it (the runtime gives no reason)"
        return "" if where == self.label else self.reasons.get((kind, name), unsaid)

    def _zeros(self) -> dict[str, Any]:
        sizes = [[size or 1 for size in spec["shape"]] for spec in self.inputs]
        kinds = [spec["dtype"] for spec in self.inputs]
        return {name: self.np.zeros(*one) for name, *one in zip(self._in, sizes, kinds)}


class _Provider:
    """An execution provider, built in or of a library that a Python module brings.

    Raises:
        Fault: it is not there.
    """

    def __init__(self, module: Any, library: str, plugin: str, options: Mapping[str, str]) -> None:
        self.module, self._options, self._devices = module, options, []
        wanted = re.sub(f"{_SUFFIX}$", "", library)
        if _CHOOSES.match(options.get("device_type", "")):
            what = (
                f"device_type = {options['device_type']}: OpenVINO would choose the device itself"
            )
            raise Fault(what, "name one device: CPU, GPU or NPU", 1)
        if plugin:
            self.label = wanted
            self._devices = self._registered(plugin)
            return
        names = [re.sub(f"{_SUFFIX}$", "", name) for name in module.get_available_providers()]
        same = [name for name in names if name.lower() == wanted.lower()]
        if not same:
            raise Fault(f"this onnxruntime is built without it, it has {', '.join(names)}", code=1)
        self.label = same[0]

    def _registered(self, plugin: str) -> list[Any]:
        """The devices of the library, an NPU before a GPU before a CPU."""
        if not _MODULE.fullmatch(plugin):
            raise Fault(f"the option plugin = {plugin!r} names no Python module", code=1)
        try:
            brings = load(plugin)
            name, path = str(brings.get_ep_name()), str(brings.get_library_path())
        except Exception as error:  # Whatever a broken installation raises, it is the answer.
            raise Fault(f"the plugin {explain(str(error), '')}", code=1) from None
        self.label = re.sub(f"{_SUFFIX}$", "", name)
        if not os.path.isfile(path):
            raise Fault(f"the library of the plugin {plugin} is not there: {path}", code=1)
        heard = _Heard()
        if not self._of(name):
            try:
                with heard:
                    self.module.register_execution_provider_library(name, path)
            except Exception as error:  # Not one of its own, or of another version.
                said = explain(str(error), heard.text)
                raise Fault(
                    f"the library of the plugin {plugin} does not load: {said}", code=1
                ) from None
        found = self._of(name)
        if not found:
            raise Fault(f"the plugin {plugin} finds no device here", code=1)
        return found

    def _of(self, name: str) -> list[Any]:
        devices = [one for one in self.module.get_ep_devices() if one.ep_name == name]
        return sorted(devices, key=lambda one: -int(getattr(one.device.type, "value", 0)))

    def session(
        self, how: Mapping[str, Any], fixed: Sequence[str], folder: str, *, alone: bool, log: int
    ) -> Any:
        """A session with this provider alone, or also with the CPU."""
        options = _options(self.module, how)
        options.log_severity_level = log
        options.add_session_config_entry(_NO_CPU, "1" if alone else "0")
        for name in fixed:
            options.add_free_dimension_override_by_name(name, 1)
        given: dict[str, Any] = {"enable_fallback": 0}  # Python's own: a new start on the CPU.
        if self._devices:
            options.add_provider_for_devices(self._devices[:1], dict(self._options))
        else:
            if self.label in _WHEELS and hasattr(self.module, "preload_dlls"):
                self.module.preload_dlls()  # NVIDIA's wheels lie where no loader looks.
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(folder, "profile")
            given["providers"] = [(f"{self.label}{_SUFFIX}", dict(self._options))]
        return self.module.InferenceSession(how["path"], options, **given)

    def record(self, native: Any, zeros: Callable[[], Any]) -> list[Any]:
        """What ran where in an inference; it ends the profiling, so that no other one is slowed."""
        if self._devices:
            return []
        try:
            native.run(None, zeros())
            is_known = True
        except Exception:  # An open size that is not 1, or zeros are no values for it.
            is_known = False
        with open(native.end_profiling(), encoding="utf-8") as file:
            events = json.load(file) if is_known else []
        return executed(events)


class _Heard:
    """What libraries print while it is entered: they write past Python, and only there say why."""

    text = ""

    def __enter__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._file = tempfile.TemporaryFile()
        self._kept = [os.dup(1), os.dup(2)]
        os.dup2(self._file.fileno(), 1)
        os.dup2(self._file.fileno(), 2)

    def __exit__(self, *error: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in enumerate(self._kept, 1):
            os.dup2(kept, number)
            os.close(kept)
        self._file.seek(0)
        self.text = _STYLE.sub("", self._file.read(_LOG_BYTES).decode("utf-8", "replace"))
        self._file.close()


def explain(error: str, log: str) -> str:
    """Half a sentence: what the runtime raised or, without that, the last error that it printed."""
    found = _ERROR.findall(log)
    said = _LEAD.sub("", error.strip() or (found[-1] if found else "it gives no reason"))
    return re.sub(r"\s+", " ", said).strip().rstrip(".")[:300]


def refusals(log: str) -> dict[tuple[str, str], str]:
    """Why ops were not taken, by (kind, name), as QNN's provider prints it for a group of ops."""
    found, code = {}, ""
    for match in _UNIT.finditer(log):
        if match.group("kind"):
            code = f"its {match.group('kind')} does not take these types or shapes "
            code += f"(QNN's error {match.group('code')})"
            continue
        for node in _NODE.findall(match.group("nodes") or ""):
            said = _TWICE.sub("", match.group("reason").strip())
            found[node] = code or _WORDS.get(said, said.rstrip("."))
        code = ""
    return found


def executed(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """(where, kind, name, dtype) of every op that a profile has, once each; copies are no ops."""
    found = {}
    for event in events:
        is_kernel = event.get("cat") == "Node" and event["name"].endswith(_KERNEL)
        if is_kernel and not event["args"]["op_name"].startswith("Memcpy"):
            args, name = event["args"], event["name"][: -len(_KERNEL)]
            sides = (args.get(f"{side}_type_shape", ())[:1] for side in ("input", "output"))
            dtypes = [_FLOATS.get(dtype, dtype) for side in sides for one in side for dtype in one]
            dtype = " to ".join(dict.fromkeys(dtypes)) or "unknown"
            where = re.sub(f"{_SUFFIX}$", "", args["provider"])
            kind = args["op_name"]
            found[name, kind, args.get("node_index")] = (where, kind, name, dtype)
    return [*found.values()]


def _options(module: Any, how: Mapping[str, Any]) -> Any:
    options = module.SessionOptions()
    options.use_deterministic_compute = True
    options.intra_op_num_threads, options.inter_op_num_threads = how["threads"], 1
    level = str(how["optimization"]).upper()
    level = "ORT_DISABLE_ALL" if level in ("NONE", "DISABLED") else f"ORT_ENABLE_{level}"
    options.graph_optimization_level = getattr(module.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _open_batches(module: Any, path: str) -> list[str]:
    """The names of open first axes, where no other axis of an input has the same name."""
    options = module.SessionOptions()
    options.log_severity_level = _FATAL
    options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        native = module.InferenceSession(path, options, providers=[f"CPU{_SUFFIX}"])
    except Exception as error:  # The file itself is wrong, or has ops of the provider's own.
        if any(word in str(error) for word in ("INVALID_PROTOBUF", "INVALID_GRAPH", "NO_SUCHFILE")):
            raise Fault(explain(str(error), ""), code=1) from None
        return []
    shapes = [value.shape for value in native.get_inputs()]
    others = {size for shape in shapes for size in shape[1:]}
    firsts = dict.fromkeys(size for shape in shapes for size in shape[:1])
    return [size for size in firsts if isinstance(size, str) and size not in others]


def _listed(ops: Sequence[Sequence[Any]]) -> str:
    """'2 ops to the CPU: Gemm: why; Erf: why'; ops with one reason are said together."""
    kinds: dict[str, list[str]] = {}
    for _, kind, _, _, reason in ops:
        kinds.setdefault(reason, []).append(kind)
    said = [f"{_some(names)}: {reason}" for reason, names in kinds.items()]
    return f"{len(ops)} op{'s' * (len(ops) > 1)} to the CPU: {'; '.join(said)}"


def _some(kinds: Sequence[str]) -> str:
    different = [*dict.fromkeys(kinds)]
    more = f" and {len(different) - _MOST_OPS} kinds more" if different[_MOST_OPS:] else ""
    return ", ".join(different[:_MOST_OPS]) + more
