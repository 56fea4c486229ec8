"""Making an ONNX Runtime session: its providers, no silent fallback, errors in the user's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks import onnx_files
from edgekit.frameworks.onnx_words import runtime_words
from edgekit.lazy import require, version

__all__ = ["CPU", "Optimization", "Options", "assigned", "create", "explain", "kinds", "short_name"]

Optimization = Literal["all", "extended", "basic", "none"]

CPU = "CPU"
_SUFFIX = "ExecutionProvider"
_LEVELS: dict[Optimization, str] = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
_PACKAGES = {
    "CUDA": "onnxruntime-gpu",
    "Dml": "onnxruntime-directml",
    "MIGraphX": "onnxruntime-migraphx",
    "OpenVINO": "onnxruntime-openvino",
    "QNN": "onnxruntime-qnn",
    "Tensorrt": "onnxruntime-gpu",
}
_FATAL_ONLY = 4
_ORT_MARK = b"ORTM"

_UNKNOWN = re.compile(
    r"No Op registered for (?P<op>\S+) with domain_version of (?P<opset>\d+)"
    r"|(?P<domain>[\w.]+):(?P<custom>\w+)\(-?\d+\) is not a registered function/op"
)
_KERNEL = re.compile(r"Could not find an implementation for (\w+)\((\d+)\)")
_MISSING = re.compile(r'External data path does not exist: "(.+?)"')
_NEWER = re.compile(
    r"Unsupported model (IR version): (\d+), max supported IR version: (\d+)"
    r"|(Opset) (\d+) is under development.* till opset (\d+)"
)
_NO_FALLBACK = "fallback to CPU EP has been explicitly disabled"


@dataclass(frozen=True)
class Options:
    """How a model is run.

    Attributes:
        threads: that compute one inference together.
        optimization: how far the runtime rewrites the graph when it loads it.
        providers: who executes the ops, the first that can; short ('cuda') or full names.
        allow_fallback: lets ops that no named provider takes run on the CPU all the same.
    """

    threads: int = 1
    optimization: Optimization = "all"
    providers: tuple[str, ...] = (CPU,)
    allow_fallback: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be from 1 to 64, not {self.threads}")
        if not self.providers:
            raise ValueError("providers must name at least one, such as CPU")


def create(
    model: Path | bytes, options: Options, *, profile: Path | None = None, needed_for: str = ""
) -> Any:
    """Makes a session: silent, with the same values in each run, on the named providers alone.

    With `profile`, the prefix of a file, each op's time is written once profiling ends.

    Raises:
        UsageError: a provider is not there or does not take all ops, or the runtime cannot load
            the model; what is at fault is named.
    """
    runtime = require("onnxruntime", extra="onnx", needed_for=needed_for or f"{model!s:.200}")
    providers = [f"{name}{_SUFFIX}" for name in _known(options.providers, runtime)]
    forbidden = f"{CPU}{_SUFFIX}" not in providers and not options.allow_fallback
    chosen = _session_options(runtime, options, profile)
    if isinstance(model, Path) and _is_ort(model):
        chosen.add_session_config_entry("session.load_model_format", "ORT")
    if forbidden:
        chosen.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    source = model if isinstance(model, bytes) else str(model)
    try:
        native = runtime.InferenceSession(
            source,
            sess_options=chosen,
            providers=providers,
            enable_fallback=0,  # It would print what it does.
        )
    except Exception as error:  # The errors of the runtime have no base of their own.
        if forbidden and _NO_FALLBACK in str(error):
            raise _fell_back(model, short_name(providers[0]), options) from error
        raise explain(model, error) from error
    _must_be_there(model, native, providers, options)
    return native


def assigned(native: Any) -> list[tuple[str, str, str]]:
    """(provider, op kind, node name) as the session divided the graph; it must have recorded it."""
    return [
        (short_name(part.ep_name), node.op_type, node.name)
        for part in native.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def kinds(native: Any) -> set[str]:
    """The kinds of ops in the session; none where the runtime does not say, as of an .ort file."""
    try:
        return {kind for _, kind, _ in assigned(native)}
    except Exception:  # The errors of the runtime have no base of their own.
        return set()


def short_name(provider: str) -> str:
    """'CUDA' for 'CUDAExecutionProvider'."""
    return provider.removesuffix(_SUFFIX)


def _session_options(runtime: Any, options: Options, profile: Path | None) -> Any:
    chosen = runtime.SessionOptions()
    chosen.log_severity_level = _FATAL_ONLY
    chosen.intra_op_num_threads = options.threads
    chosen.inter_op_num_threads = 1
    chosen.use_deterministic_compute = True
    level = _LEVELS[options.optimization]
    chosen.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if profile is not None:
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(profile)
    return chosen


def _known(names: Sequence[str], runtime: Any) -> list[str]:
    """The providers by the runtime's own short names, once it has them all.

    Raises:
        UsageError: it knows no such provider, or was built without it.
    """
    every = {short_name(name).lower(): short_name(name) for name in runtime.get_all_providers()}
    here = [short_name(name) for name in runtime.get_available_providers()]
    has = f"{', '.join(sorted(here))}"
    found = []
    for name in names:
        plain = re.sub(f"{_SUFFIX}$", "", name.strip(), flags=re.IGNORECASE).lower()
        if plain not in every:
            raise UsageError(
                f"provider '{name}': ONNX Runtime {version('onnxruntime')} knows none of this name",
                hint=f"{did_you_mean(plain, every)} (available here: {has})",
            )
        if every[plain] not in here:
            package = _PACKAGES.get(every[plain])
            install = f"install the package '{package}' in its place, or " if package else ""
            raise UsageError(
                f"provider '{name}': the installed ONNX Runtime was built without it",
                hint=f"{install}take one that is available here: {has}",
            )
        found.append(every[plain])
    return found


def _must_be_there(
    model: Path | bytes, native: Any, providers: Sequence[str], options: Options
) -> None:
    """A provider that cannot start, or that takes no op at all, is left out without a word.

    Raises:
        UsageError: that is so, and falling back is not allowed.
    """
    if options.allow_fallback or (len(providers) == 1 and short_name(providers[0]) == CPU):
        return
    started = native.get_providers()
    missing = next((name for name in providers if name not in started), None)
    if missing is not None:
        raise UsageError(
            f"{_name(model)}: the provider '{short_name(missing)}' does not start here",
            hint="see that its driver and its libraries are installed, or allow the CPU to do its "
            "work with allow_fallback=true",
        )
    first = short_name(providers[0])
    if first not in {where for where, _, _ in assigned(native)}:
        raise _untaken(model, first, assigned(native))


def _fell_back(model: Path | bytes, first: str, options: Options) -> UsageError:
    """Opens it once more with the CPU allowed, to say which ops went there."""
    allowed = replace(options, allow_fallback=True)
    native = create(model, allowed)
    on_cpu = [item for item in assigned(native) if item[0] == CPU]
    return _untaken(model, first, on_cpu)


def _untaken(model: Path | bytes, provider: str, ops: Sequence[tuple[str, str, str]]) -> UsageError:
    names = [f"{kind} '{name}'" if name else kind for _, kind, name in ops]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    verb = "is" if len(names) == 1 else "are"
    what = f"{', '.join(names[:3])}{more} {verb} left to the CPU" if names else "it takes no op"
    return UsageError(
        f"{_name(model)}: the provider '{provider}' does not take the whole model: {what}",
        hint="allow it with allow_fallback=true, or choose another provider",
    )


def _is_ort(path: Path) -> bool:
    """A file in the runtime's own format, whatever its name is."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == _ORT_MARK
    except OSError:
        return False


def _name(model: Path | bytes) -> str:
    return str(model) if isinstance(model, Path) else "model"


def explain(path: Path | bytes, error: Exception) -> UsageError:
    """One sentence for what the runtime raised; its own words where it says nothing known."""
    if isinstance(error, UsageError):
        return error
    path = path if isinstance(path, Path) else Path("model")
    text, runtime = str(error), f"ONNX Runtime {version('onnxruntime')}"
    if match := _UNKNOWN.search(text):
        kind = match["op"] or f"{match['domain']}.{match['custom']}"
        of = f" of opset {match['opset']}" if match["opset"] else ""
        where = _node(path, match["op"] or match["custom"], match["domain"] or "")
        return UsageError(
            f"{path}: the op '{kind}'{of}{where} is not one that {runtime} has",
            hint="replace the op and export the model again, or update onnxruntime",
        )
    if match := _KERNEL.search(text):
        return UsageError(
            f"{path}: {runtime} has no CPU kernel for the op '{match[1]}' of opset {match[2]} "
            "with the dtypes that it has here",
            hint="export the model in float32, or update onnxruntime",
        )
    if match := _MISSING.search(text):
        name = Path(match[1]).name
        return UsageError(
            f"{path}: its external data '{name}' is missing", hint=f"put it beside {path.name}"
        )
    if match := _NEWER.search(text):
        what, has, most = (found.replace("Ops", "ops") for found in match.groups("") if found)
        return UsageError(
            f"{path}: has the {what} {has}, and {runtime} knows up to {most}",
            hint="update onnxruntime, or export the model with an older opset",
        )
    words = runtime_words(error) or next(iter(text.strip().splitlines()), repr(error)).rstrip(".")
    return UsageError(f"{path}: {runtime} cannot run it: {words}")


def _node(path: Path, kind: str, domain: str) -> str:
    """The first node of an op, as ` (node 'NAME')`; '' where the file cannot be read."""
    try:
        nodes = onnx_files.all_nodes(onnx_files.outline(path).model)
        found = next(n for n in nodes if n.op_type == kind and n.domain in (domain, "ai.onnx"))
    except (UsageError, OSError, StopIteration):
        return ""
    return f" (node '{found.name or next(iter(found.output), kind)}')"
