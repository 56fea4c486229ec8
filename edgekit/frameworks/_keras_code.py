"""Finds code in a Keras configuration before anything loads it."""

from __future__ import annotations

from typing import Any

__all__ = ["find_code"]

_UNSAFE_TF_FUNCTIONS = ("io.", "raw_ops.", "py_function", "numpy_function", "saved_model.")


def find_code(config: Any) -> str:
    """The name of the first layer that carries or calls code from outside Keras, '' for none."""
    todo: list[tuple[Any, str]] = [(config, "?")]
    while todo:
        item, layer = todo.pop()
        if isinstance(item, list):
            todo += [(value, layer) for value in reversed(item)]
        elif isinstance(item, dict):
            inner = item.get("config")
            if "class_name" in item and isinstance(inner, dict) and "name" in inner:
                layer = str(inner["name"])
            if _is_code(item):
                return layer
            todo += [(value, layer) for value in reversed(list(item.values()))]
    return ""


def _is_code(item: dict[str, Any]) -> bool:
    """Marshalled lambdas, Keras 2 Lambda layers, and TensorFlow calls that touch files."""
    kind, config = item.get("class_name"), item.get("config")
    if kind == "__lambda__":
        return True
    if not isinstance(config, dict):
        return False
    if kind == "Lambda":
        return "function_type" in config or isinstance(config.get("function"), list)
    function = config.get("function")
    return kind == "TFOpLambda" and str(function).startswith(_UNSAFE_TF_FUNCTIONS)
