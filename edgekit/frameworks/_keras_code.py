"""Finds what a Keras configuration would run or read, before anything loads it."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.frameworks._tf_functions import is_safe_function, is_safe_op

__all__ = ["CUSTOM_HINT", "Refusal", "find_code"]

CUSTOM_HINT = (
    "edgekit runs no custom Python code: save the model with model.export(DIR), "
    "which needs no class, and name DIR"
)
_EXPORT = "or save with model.export(DIR)"

_CLASS = re.compile(r"(?:[^<>]+>)?[A-Z_]\w*")
"""A class, perhaps with the package that registered it: no function, and no path with dots."""
_FUNCTION = re.compile(r"[a-z_]\w*")
_SPEC = re.compile(r"[A-Z]\w*Spec")

_VALUES = frozenset(
    {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
    | {"__tuple__"}
)
"""Values that JSON has no form for."""

_ROOTS = ("keras", "tf_keras")
_FUNCTION_FAMILIES = frozenset(
    {"activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers"}
)
_FAMILIES = _FUNCTION_FAMILIES | {
    *("distribution", "dtype_policies", "engine", "layers", "mixed_precision", "models"),
    *("optimizers", "quantizers", "random", "trainers"),
}
_LOOKUPS = frozenset({"deserialize", "get", "serialize"})
"""Functions of those families that make objects of configurations."""

_CODE_LAYERS = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_CALLING_LAYERS = frozenset({"ClassMethod", "InstanceMethod", "InstanceProperty", "TFSMLayer"})
_OP_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda"})


@dataclass(frozen=True)
class Refusal:
    """Why a configuration is not loaded, as the end of a sentence about the file."""

    problem: str
    hint: str


def find_code(config: Any) -> Refusal | None:
    """The first thing in a configuration that is not on the list of what is known to be safe.

    Safe are classes of Keras's own modules that hold no code, classes without a module (Keras
    looks those up among its own and refuses the rest), Keras's activations, initializers,
    regularizers, constraints, losses, metrics and ops by name, and TensorFlow functions that only
    compute. All else is refused, wherever in the configuration it stands: a marshalled lambda, a
    function of any other module (even of Python's own), any class by a path, a layer that reads
    its vocabulary from a file.
    """
    todo: list[tuple[Any, str]] = [(config, "?")]
    while todo:
        item, layer = todo.pop()
        if isinstance(item, list):
            todo += [(value, layer) for value in reversed(item)]
        elif isinstance(item, dict):
            layer = _name(item) or layer
            refusal = next(_refusals(item, layer), None)
            if refusal is not None:
                return refusal
            todo += [(value, layer) for value in reversed(list(item.values()))]
    return None


def _name(item: dict[str, Any]) -> str:
    """The name of the layer that a dictionary describes, '' where it describes none."""
    if "class_name" not in item:
        return ""
    inner = item.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return str(name or item.get("name") or "")


def _refusals(item: dict[str, Any], layer: str) -> Iterator[Refusal]:
    vocabulary = item.get("vocabulary")
    if isinstance(vocabulary, str):
        yield Refusal(
            f"the layer '{layer}' reads the file '{vocabulary}', which edgekit never allows",
            "save the model with its vocabulary as a list",
        )
    if "class_name" not in item:
        if not _is_keras(item.get("module"), _FAMILIES | {""}):
            yield _calls(layer, f"the module {item['module']}")
        return
    kind = str(item["class_name"])
    if kind == "function":
        yield from _function_refusals(item, layer)
    elif kind == "__typespec__":
        spec, module = item.get("spec_name"), str(item.get("module"))
        if not (module.startswith("tensorflow.python.") and _SPEC.fullmatch(str(spec))):
            yield _calls(layer, f"{module}.{spec}")
    elif kind not in _VALUES:
        yield from _class_refusals(item, layer)


def _class_refusals(item: dict[str, Any], layer: str) -> Iterator[Refusal]:
    kind, module, config = str(item["class_name"]), item.get("module"), item.get("config")
    names = [kind, str(item.get("registered_name") or kind)]
    last = {re.split(r"[.>]", name)[-1] for name in names}
    if last & _CODE_LAYERS:
        yield Refusal(
            f"the layer '{layer}' holds Python code, which edgekit never runs from a file",
            f"replace the Lambda layer by a built-in layer, {_EXPORT}",
        )
    elif not _is_keras(module, _FAMILIES | {""}) and not _is_root(module):
        yield Refusal(f"the layer type '{kind}' is not one of Keras's own", CUSTOM_HINT)
    elif last & _CALLING_LAYERS or not _is_keras(module, _FAMILIES | {""}):
        yield _calls(layer, f"{module}.{kind}" if module else kind)
    elif not all(_CLASS.fullmatch(name) for name in names) or _in_python(names, module):
        yield Refusal(f"the layer type '{kind}' is not one of Keras's own", CUSTOM_HINT)
    elif last & (_OP_LAYERS | {"TensorFlowOpLayer"}):
        yield from _op_refusals(last, config if isinstance(config, dict) else {}, layer)


def _op_refusals(kinds: set[str], config: dict[str, Any], layer: str) -> Iterator[Refusal]:
    """Layers that wrap one call of TensorFlow: by its public name, or as a node of a graph."""
    if kinds & _OP_LAYERS and not is_safe_function(config.get("function")):
        yield _calls(layer, str(config.get("function")))
    if "TensorFlowOpLayer" in kinds:
        node = config.get("node_def")
        op = node.get("op") if isinstance(node, dict) else None
        if not is_safe_op(op):
            yield _calls(layer, str(op or "an op that cannot be read"))


def _function_refusals(item: dict[str, Any], layer: str) -> Iterator[Refusal]:
    """Keras looks for either name, in its own modules and then in the module that is named."""
    module, names = item.get("module"), [item.get("config"), item.get("registered_name")]
    names = [name for name in names if name is not None]
    plain = all(isinstance(name, str) and _FUNCTION.fullmatch(name) for name in names)
    known = module in (None, "", "builtins") or (
        str(module).count(".") == 1 and _is_keras(module, _FUNCTION_FAMILIES)
    )
    if not (plain and known) or _LOOKUPS & set(names) or _in_python(names, module):
        yield _calls(layer, ".".join(str(part) for part in (module, item.get("config")) if part))


def _calls(layer: str, name: str) -> Refusal:
    return Refusal(
        f"the layer '{layer}' calls '{name}', which edgekit never runs from a file",
        f"replace it by a built-in layer, {_EXPORT}",
    )


def _is_root(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _ROOTS


def _is_keras(module: Any, families: frozenset[str]) -> bool:
    """True for no module, Python's own, and the given parts of Keras ('' for its top)."""
    if module in (None, "", "builtins"):
        return True
    if not _is_root(module):
        return False
    rest = [part for part in module.split(".")[1:] if part != "src"]
    return (rest[0] if rest else "") in families


def _in_python(names: list[Any], module: Any) -> bool:
    """'builtins' is where Keras files its own functions, and where Python has `eval`."""
    return module == "builtins" and any(hasattr(builtins, name) for name in names)
