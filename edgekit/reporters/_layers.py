"""Where the bytes are: the weights of reference and result, side by side by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.core.description import Description, Weight
from edgekit.core.report import Report

__all__ = ["Layer", "largest", "rest_of_file"]

_QUANTIZED, _FUSED = "_quantized", "ConvBnFusion_W_"


@dataclass(frozen=True)
class Layer:
    """One weight tensor in both models; None where a model has no weight of that name."""

    name: str
    shape: tuple[int, ...]
    reference_bytes: int | None
    result_bytes: int | None
    reference_dtype: str = ""
    result_dtype: str = ""

    @property
    def largest(self) -> int:
        """The bytes in whichever model has more."""
        return max(self.reference_bytes or 0, self.result_bytes or 0)


def largest(report: Report, most: int) -> tuple[tuple[Layer, ...], int]:
    """The `most` largest weights, and how many more there are."""
    before = _by_name(report.reference_description)
    made = _by_name(report.result_description)
    after = {_original(name, before, made): weight for name, weight in made.items()}
    names = dict.fromkeys([*before, *after])
    table = [_layer(name, before.get(name), after.get(name)) for name in names]
    table.sort(key=lambda layer: -layer.largest)
    return tuple(table[:most]), max(0, len(table) - most)


def _original(name: str, before: Mapping[str, Weight], made: Mapping[str, Weight]) -> str:
    """The name that a weight had before quantizers and optimisers of ONNX gave it theirs."""
    own = name.removesuffix(_QUANTIZED).removeprefix(_FUSED)
    return own if own in before and own not in made else name


def rest_of_file(report: Report, shown: tuple[Layer, ...]) -> Layer | None:
    """What the files hold besides `shown`; None where buffers are shared or packed, so that
    the tensors add up to more than the file."""
    before = report.reference_description.size_bytes - sum(i.reference_bytes or 0 for i in shown)
    after = report.result_description.size_bytes - sum(i.result_bytes or 0 for i in shown)
    if before < 0 or after < 0:
        return None
    return Layer("rest of the file", (), before, after)


def _layer(name: str, before: Weight | None, after: Weight | None) -> Layer:
    either = after or before
    return Layer(
        name,
        either.shape if either else (),
        before.size_bytes if before else None,
        after.size_bytes if after else None,
        before.dtype if before else "",
        after.dtype if after else "",
    )


def _by_name(description: Description) -> dict[str, Weight]:
    """The weights by name; names are not always unique, so later ones are numbered."""
    found: dict[str, Weight] = {}
    for weight in description.weights:
        name, number = weight.name, 2
        while name in found:
            name, number = f"{weight.name} ({number})", number + 1
        found[name] = weight
    return found
