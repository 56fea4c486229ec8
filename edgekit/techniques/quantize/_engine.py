"""Quantizes a `.tflite` with litert-quantizer: recipe, calibration, rewriting."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import EdgekitError
from edgekit.frameworks.keras import quiet
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._prepare import finish, prepare

if TYPE_CHECKING:
    from edgekit.core.data import Array

    Feed = Callable[[], Iterator[dict[str, Array]]]

__all__ = ["Calibration", "EngineError", "Quantized", "quantize", "quantize_each"]

_WIDEST_FLATBUFFER = 2**31 - 2**24
_CLAMPS = {2: 1.0, 3: 6.0}
"""Fused activations that clamp (RELU_N1_TO_1, RELU6, by schema number), and where they do."""
_SOFTMAXES = (25, 50)
"""SOFTMAX and LOG_SOFTMAX, by schema number."""


@dataclass(frozen=True)
class Calibration:
    """The signature to run, and its samples by input name, anew at each call of `feed`."""

    signature: str
    feed: Feed


@dataclass(frozen=True)
class Quantized:
    """A quantized file, and the tensors whose calibrated range was too narrow for the kernels."""

    content: bytes
    widened: tuple[str, ...]


class EngineError(Exception):
    """litert-quantizer could not do it; the text is its reason, in one line."""


def quantize(
    content: bytes,
    parameters: Parameters,
    *,
    calibration: Calibration | None = None,
    skipped: frozenset[str] = frozenset(),
    weights_only: frozenset[str] = frozenset(),
) -> Quantized:
    """Makes a quantized file of a float one; the same input gives the same bytes.

    A static scheme needs the calibration; `skipped` are the output tensor names of the ops that
    stay as they are, `weights_only` of those of which the weights alone become int8.

    Raises:
        EngineError: the engine raised; nothing of it is hidden but the traceback.
    """
    with _polite():
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
        from litert_quantizer.calibrator import CalibrationMode
        from litert_quantizer.utils.tfl_flatbuffer_utils import read_model

        # The profiler collects the same minima and maxima as the default mode inside the C++
        # interpreter, and is much faster; the default mode is for what it does not see.
        modes = [
            CalibrationMode.CALIBRATION_PROFILER_BASED,
            CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
        ]
        for mode in modes if calibration else modes[:1]:
            try:
                model = read_model(content)
                if prepare(model):
                    content = bytes(convert_object_to_bytearray(model))
                recipe = _recipe(parameters, model, skipped, weights_only)
                ranges: dict[str, Any] = {}
                if calibration:
                    ranges = _calibrate(content, recipe, parameters, calibration, mode)
                widened = tuple(_widen(model, ranges, parameters.activation_bits))
                return Quantized(_rewrite(model, recipe, ranges), widened)
            except EdgekitError:
                raise  # The samples' own: no fault of the engine's.
            except Exception as error:
                # On odd files the engine raises of every kind; whatever it is, it is its answer.
                failure = error
        raise EngineError(_one_line(failure)) from failure


def quantize_each(
    content: bytes,
    parameters: Parameters,
    *,
    calibration: Calibration,
    skipped: Iterable[frozenset[str]],
) -> Iterator[bytes]:
    """Makes one quantized file for each set of skipped ops, all from one calibration.

    Raises:
        EngineError: the engine raised.
    """
    with _polite():
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
        from litert_quantizer.calibrator import CalibrationMode
        from litert_quantizer.utils.tfl_flatbuffer_utils import read_model

        try:
            model = read_model(content)
            if prepare(model):
                content = bytes(convert_object_to_bytearray(model))
            recipe = _recipe(parameters, model, frozenset())
            mode = CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS
            ranges = _calibrate(content, recipe, parameters, calibration, mode)
            list(_widen(model, ranges, parameters.activation_bits))
            for names in skipped:
                fresh = read_model(content)
                yield _rewrite(fresh, _recipe(parameters, fresh, names), ranges)
        except EdgekitError:
            raise  # The samples' own: no fault of the engine's.
        except Exception as error:  # As in `quantize`.
            raise EngineError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextlib.contextmanager
def _polite() -> Iterator[None]:
    """Takes back what the engine does to the process: warnings, and a handler on the root logger.

    It logs by `logging.info`, which installs a handler where the program has none.
    """
    handlers = logging.root.handlers[:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.root.handlers[:] = handlers


def _recipe(
    parameters: Parameters,
    model: Any,
    skipped: frozenset[str],
    weights_only: frozenset[str] = frozenset(),
) -> Any:
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import QuantGranularity, TFLOperationName
    from litert_quantizer.recipe_manager import RecipeManager

    every = TFLOperationName.ALL_SUPPORTED
    grain = QuantGranularity.CHANNELWISE if parameters.per_channel else QuantGranularity.TENSORWISE
    recipe = RecipeManager()
    match parameters.scheme:
        case "int8" | "int16x8":
            recipe.add_static_config(".*", every, parameters.activation_bits, 8, grain)
        case "dynamic-int8":
            recipe.add_dynamic_config(".*", every, 8, grain)
        case "weight-only-int8":
            recipe.add_weight_only_config(".*", every, 8, grain)
        case "float16":
            cast = AlgorithmName.FLOAT_CASTING
            recipe.add_weight_only_config(".*", every, 16, algorithm_key=cast)
    for scope, kind in _scopes(model, weights_only):
        recipe.add_weight_only_config(scope, kind, 8, grain)
    exempt = [(scope, kind) for scope, kind in _scopes(model, skipped)]
    if parameters.io == "float":
        exempt += [(".*", TFLOperationName.INPUT), (".*", TFLOperationName.OUTPUT)]
    for scope, kind in exempt:
        recipe.add_quantization_config(scope, kind, None, AlgorithmName.NO_QUANTIZE)
    return recipe


def _scopes(model: Any, skipped: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """The engine's own regular expression and op name for each op that stays as it is."""
    from litert_quantizer.utils import tfl_flatbuffer_utils as engine

    for subgraph in model.subgraphs if skipped else ():
        for op in subgraph.operators:
            kind = engine.TFL_OP_CODE_TO_NAME.get(model.operatorCodes[op.opcodeIndex].builtinCode)
            names = {subgraph.tensors[index].name.decode() for index in op.outputs}
            if kind is not None and names & skipped:
                yield f"^{re.escape(engine.get_op_scope(op, subgraph.tensors))}$", kind


class _Feed:
    """Samples for the engine, which iterates twice: once to size a progress bar, once to use them.

    The first time it gets none: that keeps its bar off the terminal and the samples off the heap.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._sized = False

    def __iter__(self) -> Iterator[dict[str, Array]]:
        if self._sized:
            return self._feed()
        self._sized = True
        return iter(())


def _calibrate(
    content: bytes, recipe: Any, parameters: Parameters, calibration: Calibration, mode: Any
) -> dict[str, Any]:
    from litert_quantizer.calibrator import Calibrator
    from litert_quantizer.utils import qsv_utils

    widest = parameters.ranges == "min-max"
    update = qsv_utils.min_max_update if widest else qsv_utils.moving_average_update
    with quiet():  # The runtime says on stderr that it made a delegate.
        calibrator = Calibrator(content, num_threads=1, mode=mode, qsv_update_func=update)
    calibrator.calibrate({calibration.signature: _Feed(calibration.feed)}, recipe)
    ranges: dict[str, Any] = calibrator.get_model_qsvs()
    return ranges


def _widen(model: Any, ranges: dict[str, Any], bits: int) -> Iterator[str]:
    """Widens ranges that are all but zero to what the kernels can take; yields the tensors' names.

    A dead layer has such a range, and kernels do not load, or abort the process, over a scale
    that is too small for their fixed-point arithmetic.
    """
    import numpy as np

    for subgraph in model.subgraphs if ranges else ():
        for op in subgraph.operators:
            code = model.operatorCodes[op.opcodeIndex].builtinCode
            for index, narrowest in _narrowest(op, code, bits):
                name = subgraph.tensors[index].name.decode()
                found = ranges.get(name)
                if found and float(np.max(found["max"]) - np.min(found["min"])) < narrowest:
                    found["max"] = np.full_like(found["max"], 1.1 * narrowest)
                    yield name


def _narrowest(op: Any, code: int, bits: int) -> Iterator[tuple[int, float]]:
    """Tensors of an op with the smallest width of range that its kernels can take.

    A fused clamp must fit into int32 on the output's scale (`no_integer_overflow_from_quantization`
    in kernel_util.cc). int8 SOFTMAX multiplies its input's scale by 2^26 and by beta, and aborts
    where that is below 1 (`PreprocessSoftmaxScaling` in quantization_util.cc).
    """
    levels = 2**bits - 1 if bits == 8 else 2 ** (bits - 1) - 1
    clamp = _CLAMPS.get(getattr(op.builtinOptions, "fusedActivationFunction", 0))
    if clamp is not None:
        yield op.outputs[0], clamp * levels / 2**31
    if code in _SOFTMAXES and bits == 8:
        beta = float(getattr(op.builtinOptions, "beta", 1.0) or 1.0)
        yield op.inputs[0], levels / (2**26 * beta)


def _rewrite(model: Any, recipe: Any, ranges: dict[str, Any]) -> bytes:
    from litert_quantizer.model_modifier import ModelModifier
    from litert_quantizer.params_generator import ParamsGenerator

    class Inline(ModelModifier):  # type: ignore[misc]
        """Writes weights inside the flatbuffer: above 256 kB the engine would put them behind it,
        where tflite-micro, Vela and older runtimes do not look."""

        def _serialize_small_model(self, made: Any) -> Any:
            finish(made)
            return super()._serialize_small_model(made)

        def _serialize_model(self, made: Any, packed: Any, serialize_to_path: Any = None) -> Any:
            if packed.packed_size > _WIDEST_FLATBUFFER:
                return super()._serialize_model(made, packed, serialize_to_path)
            return self._serialize_small_model(made)

    params = ParamsGenerator(model).generate_quantization_parameters(recipe, ranges, False)
    return bytes(Inline(model).modify_model(params, enable_progress_bar=False))
