"""What else there is to say about an ONNX model: versions, open axes, graphs inside ops."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from edgekit.core.description import Op
from edgekit.formats import _onnx_ops
from edgekit.frameworks import onnx_files, onnx_shapes

__all__ = ["facts", "notes"]

_MOST = 8


def facts(model: Any) -> tuple[str, ...]:
    """What there is to know, one text for each thing, the most general first."""
    return (
        _versions(model),
        *filter(None, map(_open_axes, onnx_shapes.inputs_of(model))),
        *_subgraphs(model),
        *_few(list(map(_function, model.functions)), "functions"),
    )


def notes(ops: tuple[Op, ...]) -> tuple[str, ...]:
    """What is not known of the ops."""
    return (*_macs(ops), *_custom(ops))


def _versions(model: Any) -> str:
    others = [
        f"{item.domain} {item.version}"
        for item in model.opset_import
        if item.domain not in ("", "ai.onnx")
    ]
    text = f"opset {onnx_files.opset(model)}"
    text += f" ({', '.join(others)})" if others else ""
    text += f", IR version {model.ir_version}"
    maker = f"{model.producer_name} {model.producer_version}".strip()
    return f"{text}, made by {maker}" if maker else text


def _open_axes(value: Any) -> str:
    """The axes without a size, with their names, and how to give them one."""
    if value.type.WhichOneof("value") != "tensor_type":
        return ""
    if not value.type.tensor_type.HasField("shape"):
        name = shlex.quote(value.name)
        return f"input '{value.name}' has no shape; `--input {name}=SIZExSIZE` gives it one"
    shape = _onnx_ops.tensor_type(value)[1] or ()
    dims = value.type.tensor_type.shape.dim
    axes = [axis for axis, size in enumerate(shape) if size is None]
    if not axes:
        return ""
    names = [dims[axis].dim_param or f"axis {axis}" for axis in axes]
    numbered = ", ".join(map(str, axes))
    example = onnx_shapes.shape_text([1 if shape[0] is None else shape[0], *shape[1:]])
    return (
        f"input '{value.name}': {'axis' if len(axes) == 1 else 'axes'} {numbered} "
        f"{'is' if len(axes) == 1 else 'are'} open ({', '.join(names)}); fix with "
        f"`--input {shlex.quote(value.name)}={example}`"
        + (", a size for each ?" if "?" in example else "")
    )


def _macs(ops: tuple[Op, ...]) -> tuple[str, ...]:
    is_open = all(op.macs is None for op in ops) and any(
        op.kind in ("Conv", "Gemm", "MatMul") for op in ops
    )
    return ("multiply-accumulates are not counted while sizes are open",) if is_open else ()


def _subgraphs(model: Any) -> Iterator[str]:
    """How many ops the graphs inside If, Loop and Scan have; they are among the ops, too."""
    holders: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for node in onnx_files.all_nodes(model):
        graphs = [item.g for item in node.attribute if item.HasField("g")]
        graphs += [graph for item in node.attribute for graph in item.graphs]
        if graphs:
            holders[_onnx_ops.kind(node)] += 1
            inside[_onnx_ops.kind(node)] += sum(
                item.op_type != "Constant" for graph in graphs for item in graph.node
            )
    for kind in sorted(holders):
        yield f"{_count(inside[kind], 'op')} in the graphs inside {_count(holders[kind], kind)}"


def _function(function: Any) -> str:
    called = f"{function.domain}.{function.name}"
    found = Counter(_onnx_ops.kind(node) for node in function.node).most_common(_MOST)
    content = ", ".join(f"{number} {kind}" for kind, number in found)
    return f"function '{called}' of {_count(len(function.node), 'op')} ({content})"


def _custom(ops: tuple[Op, ...]) -> Iterable[str]:
    first: dict[str, str] = {}
    for op in ops:
        if op.is_custom:
            first.setdefault(op.kind, op.name)
    texts = [
        f"custom op '{kind}' (node '{name}'): only a runtime that has it can run the model"
        for kind, name in first.items()
    ]
    return _few(texts, "custom ops")


def _few(texts: list[str], noun: str) -> list[str]:
    rest = len(texts) - _MOST
    return texts if rest <= 0 else [*texts[:_MOST], f"{rest} more {noun}"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
