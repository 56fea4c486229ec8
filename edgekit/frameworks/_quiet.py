"""Importing TensorFlow and Keras without their noise on the terminal."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError

__all__ = ["import_keras", "import_tensorflow", "import_tf_keras", "quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides all that is written to stdout and stderr, by C++ code too; exceptions pass through.

    It works on file descriptors, so nothing that should reach the user may be printed inside it.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        sink = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        for descriptor in (1, 2):
            _redirect(descriptor, sink.fileno(), stack)
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(contextlib.redirect_stderr(sink))
        yield


def _redirect(descriptor: int, target: int, stack: contextlib.ExitStack) -> None:
    """Points a descriptor elsewhere until the stack unwinds; a closed one is left alone."""
    stream = sys.stdout if descriptor == 1 else sys.stderr
    if stream is not None:
        stream.flush()
    try:
        saved = os.dup(descriptor)
    except OSError:
        return
    os.dup2(target, descriptor)
    stack.callback(os.close, saved)
    stack.callback(os.dup2, saved, descriptor)


def import_tensorflow(needed_for: str = "a Keras model") -> Any:
    """Imports TensorFlow with its logs off.

    Raises:
        UsageError: TensorFlow is not installed; the hint is the pip command.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "tensorflow" in sys.modules:
        return lazy.require("tensorflow", extra="tensorflow", needed_for=needed_for)
    with quiet():
        tensorflow = lazy.require("tensorflow", extra="tensorflow", needed_for=needed_for)
        tensorflow.get_logger().setLevel("ERROR")
        _silence_absl()
    return tensorflow


def import_keras(needed_for: str = "a Keras model") -> Any:
    """Imports Keras 3 on TensorFlow.

    Raises:
        UsageError: it is not installed, or KERAS_BACKEND chose another backend.
    """
    import_tensorflow(needed_for)
    with quiet():
        keras = lazy.require("keras", extra="tensorflow", needed_for=needed_for)
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise UsageError(
            f"KERAS_BACKEND is '{backend}', and {needed_for} needs 'tensorflow'",
            hint="set KERAS_BACKEND=tensorflow",
        )
    return keras


def import_tf_keras(needed_for: str = "a model saved by Keras 2") -> Any:
    """Imports Keras 2, which lives on as the package tf_keras."""
    import_tensorflow(needed_for)
    with quiet():
        return lazy.require("tf_keras", extra="tensorflow", needed_for=needed_for)


def _silence_absl() -> None:
    absl_logging = importlib.import_module("absl.logging")
    absl_logging.set_verbosity(absl_logging.ERROR)
