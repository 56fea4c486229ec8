"""What is wrong with an ONNX model, in one sentence: ops, tensors, and the checker's own words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError
from edgekit.frameworks._onnx_tensors import (
    all_graphs,
    all_tensors,
    expected_bytes,
    external_span,
    is_external,
)

__all__ = ["check_ops", "check_parts", "in_one_line", "in_words"]

_MOST_WORDS = 300

_CONTEXT = re.compile(r"==> Context:.*")
_NODE = re.compile(r"Bad node spec for node\. Name: (?P<name>.*?) OpType: (?P<kind>\S+)")
_UNSORTED = re.compile(
    r"Nodes in a graph must be topologically sorted, however input '(?P<input>.*)' of node: "
    r"name: (?P<name>.*) OpType: (?P<kind>\S+) is not output of any previous nodes"
)
_COUNT = re.compile(
    r"Node\(.*\) with schema\(.*\) has (?P<side>input|output) size (?P<has>\d+) not in range "
    r"\[min=(?P<least>\d+), max=(?P<most>\d+)\]"
)
_TWICE = re.compile(
    r"Graph must be in single static assignment \(SSA\) form, however '(.*)' has been used as "
    r"(?:output|graph input) names multiple times"
)
_TENSOR = re.compile(r"TensorProto \( ?tensor name: (.*?)\) ")
_UNBOUNDED = 2**31 - 1


def check_parts(path: Path, model: Any, cut: Mapping[int, tuple[int, int]]) -> None:
    """Looks at the values that are not in `model`: as many as the shapes say, and really there.

    Raises:
        UsageError: a tensor of which that is not so.
    """
    for place, (_, length) in cut.items():
        tensor = model.graph.initializer[place]
        expected = expected_bytes(tensor)
        if expected is not None and expected != length:
            raise UsageError(
                f"tensor '{tensor.name}' has {length} bytes, and its shape {list(tensor.dims)} "
                f"takes {expected}"
            )
    for tensor in filter(is_external, all_tensors(model)):
        external_span(tensor, path.parent)


def check_ops(model: Any) -> None:
    """Looks up every op where its domain is one that onnx knows.

    Raises:
        UsageError: an op, an opset or an IR version that onnx does not know; a domain of which the
            model does not say the version. The node is named.
    """
    onnx = lazy.require("onnx", extra="onnx", needed_for="an ONNX model")
    if model.ir_version > onnx.IR_VERSION:
        raise UsageError(
            f"its IR version {model.ir_version} is newer than {onnx.IR_VERSION}, the newest that "
            f"onnx {onnx.__version__} knows",
            hint="update onnx, or export the model with an older IR version",
        )
    own = {(function.domain, function.name) for function in model.functions}
    for graph in all_graphs(model):
        _check_nodes(graph.node, _versions(model.opset_import), own, onnx)
    for function in model.functions:
        _check_nodes(function.node, _versions(function.opset_import), own, onnx)


def _versions(imports: Any) -> dict[str, int]:
    return {_domain(item.domain): item.version for item in imports}


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _check_nodes(
    nodes: Iterable[Any], versions: dict[str, int], own: set[tuple[str, str]], onnx: Any
) -> None:
    known = _schemas(onnx)
    for node in nodes:
        domain, kind = _domain(node.domain), node.op_type
        if (node.domain, kind) in own:
            continue
        named = f"node '{node.name or next(iter(node.output), kind)}'"
        op = f"{domain}.{kind}" if domain else kind
        if domain not in versions:
            where = f"domain '{domain}'" if domain else "default domain"
            raise UsageError(f"{named} ({op}): the model does not say its opset of the {where}")
        if domain in known:
            _check_version(f"{named} ({op})", kind, domain, versions[domain], onnx)


def _schemas(onnx: Any) -> dict[str, set[str]]:
    """The newest ops by domain."""
    if not _known:
        for schema in onnx.defs.get_all_schemas():
            _known.setdefault(schema.domain, set()).add(schema.name)
    return _known


_known: dict[str, set[str]] = {}


def _check_version(named: str, kind: str, domain: str, version: int, onnx: Any) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not domain and not 1 <= version <= newest:
        raise UsageError(
            f"{named}: opset {version} is none of 1 to {newest}, which onnx {onnx.__version__} "
            "knows",
            hint="update onnx, or export the model with an older opset",
        )
    of = f"opset {version}" + (f" of '{domain}'" if domain else "")
    if onnx.defs.has(kind, max_inclusive_version=version, domain=domain):
        if onnx.defs.get_schema(kind, version, domain).deprecated:
            raise UsageError(
                f"{named}: {of} has no op '{kind}' any more",
                hint="export the model again, with ops of that opset",
            )
        return
    if onnx.defs.has(kind, domain=domain):
        since = onnx.defs.get_schema(kind, domain=domain).since_version
        hint = f"opset {since} has it: export the model with that one"
    else:
        hint = _nearest(kind, _known[domain]) or "a custom op needs a domain of its own"
    raise UsageError(f"{named}: {of} has no op '{kind}'", hint=hint)


def _nearest(kind: str, names: set[str]) -> str:
    plain = {name.lower(): name for name in names}
    near = difflib.get_close_matches(kind.lower(), sorted(plain), n=3, cutoff=0.7)
    return f"did you mean {' or '.join(repr(plain[name]) for name in near)}?" if near else ""


def in_words(error: Exception) -> str:
    """What the checker of onnx found, with the node first and without the checker's own terms."""
    text = in_one_line(error, most=10_000)
    node = _NODE.search(text)
    text = _CONTEXT.sub("", text).strip().rstrip(".")
    where = f"node '{node['name']}' ({node['kind']}): " if node else ""
    if match := _UNSORTED.fullmatch(text):
        where = f"node '{match['name']}' ({match['kind']}): "
        text = f"nothing before it makes its input '{match['input']}'"
    elif match := _COUNT.fullmatch(text):
        least, most = int(match["least"]), int(match["most"])
        allowed = f"{least} or more" if most >= _UNBOUNDED else f"{least} to {most}"
        allowed = str(least) if least == most else allowed
        text = f"it has {match['has']} {match['side']}s, where {allowed} are allowed"
    elif match := _TWICE.fullmatch(text):
        text = f"the value '{match[1]}' is made more than once"
    return (where + _TENSOR.sub(r"tensor '\1' ", text))[:_MOST_WORDS]


def in_one_line(error: Exception, *, most: int = _MOST_WORDS) -> str:
    """The words of an error without line breaks and full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:most].rstrip(".") or type(error).__name__
