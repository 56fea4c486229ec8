"""The float oracle: Keras itself, and LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.artifact import Signature
from edgekit.core.runner import Placement, Session
from edgekit.errors import EdgekitError
from edgekit.lazy import version
from edgekit.runners import litert

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.frameworks.keras import LoadedModel

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "MODULES",
    "PREDICTS",
    "UNREAL",
    "KerasSession",
    "Options",
    "open",
    "unavailable",
    "versions",
]

FORMATS = ("keras", "tflite")
PREDICTS = ("keras",)
MODULES: tuple[str, ...] = ()
FRAMEWORKS = frozenset({"tensorflow"})
UNREAL = ""
"""What this runner has to import, so that a measuring process is not clean with it."""

_TFLITE_MARK = b"TFL3"


@dataclass(frozen=True)
class Options:
    """None: the framework decides."""


def open(path: Path, signature: Signature, options: object) -> Session:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens a Keras model in Keras, or a .tflite file on the plain C++ kernels.

    Raises:
        UsageError: the model cannot be loaded, or TensorFlow is not installed.
    """
    assert isinstance(options, Options), options
    if _is_tflite(path):
        return litert.open(path, signature, litert.Options(kernels="reference"))
    from edgekit.frameworks.keras import load_model

    return KerasSession(load_model(path))


def unavailable() -> str:
    """Adds two numbers in TensorFlow; takes the seconds that its import takes."""
    from edgekit.frameworks.keras import import_keras

    try:
        keras = import_keras("the reference runner")
        total = float(keras.ops.sum(keras.ops.ones(2)))
    except EdgekitError as error:
        return f"{error}: {error.hint}"
    except Exception as error:  # Whatever a broken installation raises, it is the answer.
        return f"TensorFlow does not work here: {error or type(error).__name__}"
    return "" if total == 2.0 else "TensorFlow computes wrong values"


def versions() -> Mapping[str, str]:
    """The packages whose versions change the results, those that are installed."""
    own = {name: version(name) for name in ("tensorflow", "keras", "tf-keras")}
    return {**litert.versions(), **{name: found for name, found in own.items() if found}}


class KerasSession:
    """A model in Keras; inference only, so dropout and batch statistics are off."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.signature = loaded.signature
        self._loaded: LoadedModel | None = loaded
        self._last: tuple[Array, ...] = ()

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs N samples."""
        from edgekit.frameworks.keras import predict

        assert self._loaded is not None, "the session is closed"
        self._last = tuple(array[-1:] for array in inputs)
        return predict(self._loaded, inputs)

    def invoke(self) -> object:
        """Runs the last sample once more, as a user's own call of the model would."""
        return self.run(self._last)

    def placement(self) -> Placement:
        """Keras does not tell."""
        return Placement((), "TensorFlow does not say which op runs where")

    def close(self) -> None:
        """Lets the model go."""
        self._loaded = None


def _is_tflite(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == _TFLITE_MARK
