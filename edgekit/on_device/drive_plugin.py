"""An execution provider of ONNX Runtime beside run.py, without a silent way back to the CPU.

The delegate's option `plugin` is a Python module that brings the provider's library
(onnxruntime_qnn), or '' where this build of ONNX Runtime has the provider within (OpenVINO, WebGpu,
CUDA); all other options are the provider's own. The first session forbids the CPU. Where that fails
because ops are left, a second one may use it; it says which ops these are, and its log says why.
Providers that cannot start leave a session that runs all the same, on the CPU: that is an error
here. An open batch axis becomes 1, as run.py runs sample by sample, and many compile fixed shapes
only. Python 3.8 and numpy.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from edgekit.on_device.run import Fault, Onnx, load
else:
    from run import Fault, Onnx, load

__all__ = ["Plugin", "explain", "open_session", "refusals"]

_SUFFIX = "ExecutionProvider"
_NO_CPU = "session.disable_cpu_ep_fallback"
_DISABLED = "fallback to CPU EP has been explicitly disabled"
_VERBOSE, _FATAL = 0, 4
_LOG_BYTES = 2**26
_MOST_OPS = 4
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_CHOOSES = re.compile(r"(AUTO|HETERO|MULTI|BATCH)\b")
"""Devices by which OpenVINO decides for itself where ops run, and does not say."""

_LEAD = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |^.* was false\. ?|^.*\[ERROR\] ", re.DOTALL
)
_STYLE = re.compile(r"\x1b?\[[0-9;]*m")
_ERROR = re.compile(r"\[ERROR\] (?:\[\w+\] )?(.+)|\[E:onnxruntime[^\]]*\] (.+)")
_UNIT = re.compile(
    r"failed for node `[^`]*` of type `(?P<kind>\w+)` with error code (?P<code>\d+)"
    r"|Validation FAILED for \d+ nodes in OrtNodeUnit \(\w+\) :\n"
    r"(?P<nodes>(?:\tOperator type: [^\n]*\n)+)\tREASON : (?P<reason>[^\n]*)"
    r"|(?P<passed>Validation PASSED)"
)
_NODE = re.compile(r"Node name: (.*) Node index: \d+$", re.MULTILINE)
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
        self.reasons: Mapping[str, str] = {}
        fixed = _open_batches(module, how["path"])
        heard = _Heard()
        try:
            with heard:
                self._native = provider.session(how, fixed, {_NO_CPU: "1"}, _FATAL)
        except Exception as error:  # The errors of the runtime have no base of their own.
            if _DISABLED not in str(error):
                raise Fault(explain(str(error), heard.text), code=1) from None
            self._native = self._with_cpu(provider, how, fixed)
        native: Any = self._native
        if f"{self.label}{_SUFFIX}" not in native.get_providers():
            raise Fault(f"it does not start here: {explain('', heard.text)}", code=1)
        super(Onnx, self).__init__(
            how,
            inputs=[*map(self._spec, native.get_inputs())],
            outputs=[*map(self._spec, native.get_outputs())],
        )

    def _with_cpu(self, provider: _Provider, how: Mapping[str, Any], fixed: Sequence[str]) -> Any:
        heard = _Heard()
        try:
            with heard:
                native = provider.session(how, fixed, {}, _VERBOSE)
        except Exception as error:  # As above.
            raise Fault(explain(str(error), heard.text), code=1) from None
        if f"{self.label}{_SUFFIX}" not in native.get_providers():
            raise Fault(f"it does not start here: {explain('', heard.text)}", code=1)
        self.reasons = refusals(heard.text)
        return native

    def placement(self) -> tuple[list[list[Any]], str]:
        """To which provider the session gave each op of the model, after it rewrote the graph."""
        try:
            parts = self._native.get_provider_graph_assignment_info()
        except Exception as error:  # Releases before 1.24, and .ort files.
            return [], f"this ONNX Runtime does not say: {explain(str(error), '')}"
        placed = [(re.sub(f"{_SUFFIX}$", "", p.ep_name), n) for p in parts for n in p.get_nodes()]
        return [
            [number, node.op_type, where, "unknown", self._reason(node, where)]
            for number, (where, node) in enumerate(placed)
        ], ""

    def _reason(self, node: Any, where: str) -> str:
        if where == self.label:
            return ""
        unsaid = f"{self.label} did not take it (the runtime gives no reason)"
        return str(self.reasons.get(node.name) or unsaid)


class _Provider:
    """An execution provider, built in or of a library that a Python module brings.

    Raises:
        Fault: it is not there.
    """

    def __init__(self, module: Any, library: str, plugin: str, options: Mapping[str, str]) -> None:
        self._module, self._options, self._devices = module, options, []
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
                    self._module.register_execution_provider_library(name, path)
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
        devices = [one for one in self._module.get_ep_devices() if one.ep_name == name]
        return sorted(devices, key=lambda one: -int(getattr(one.device.type, "value", 0)))

    def session(
        self, how: Mapping[str, Any], fixed: Sequence[str], entries: Mapping[str, str], log: int
    ) -> Any:
        """A session with this provider alone, and the CPU where `entries` do not forbid it."""
        options = _options(self._module, how, log)
        for name in fixed:
            options.add_free_dimension_override_by_name(name, 1)
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        given: dict[str, Any] = {
            "enable_fallback": 0
        }  # Python's own, which starts anew on the CPU.
        if self._devices:
            options.add_provider_for_devices(self._devices[:1], dict(self._options))
        else:
            given["providers"] = [(f"{self.label}{_SUFFIX}", dict(self._options))]
        return self._module.InferenceSession(how["path"], options, **given)


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
    said = _LEAD.sub("", error.strip())
    if not said:
        found = [match.group(1) or match.group(2) for match in _ERROR.finditer(log)]
        said = found[-1] if found else "it gives no reason"
    return re.sub(r"\s+", " ", said).strip().rstrip(".")[:300]


def refusals(log: str) -> dict[str, str]:
    """Why ops were not taken, by their names, as QNN's provider prints it for each group of ops."""
    found, code = {}, ""
    for match in _UNIT.finditer(log):
        if match.group("kind"):
            code = f"its {match.group('kind')} does not take these types or shapes "
            code += f"(QNN's error {match.group('code')})"
            continue
        for name in _NODE.findall(match.group("nodes") or ""):
            said = match.group("reason").strip()
            found[name] = code or _WORDS.get(said, said.rstrip("."))
        code = ""
    return found


def _options(module: Any, how: Mapping[str, Any], log: int) -> Any:
    options = module.SessionOptions()
    options.log_severity_level, options.use_deterministic_compute = log, True
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
