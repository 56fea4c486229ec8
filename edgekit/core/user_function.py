"""The user's own function, FILE.py:FUNC; trusted, because they named it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, UsageError

__all__ = ["UserFunction", "load_function", "load_functions"]


@dataclass(frozen=True)
class UserFunction:
    """A function of the user's file; what it raises becomes one sentence with type and line."""

    path: Path
    function: Callable[..., Any]
    where: str

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def call(self, *arguments: Any) -> Any:
        """Calls it.

        Raises:
            UsageError: the function raised; names the exception and the line in the user's file.
        """
        with _own_folder(self.path), _one_sentence(self.path, self.where):
            return self.function(*arguments)


def load_function(argument: str, *, where: str) -> UserFunction:
    """Runs FILE.py of 'FILE.py:FUNC' and finds FUNC in it.

    Raises:
        UsageError: not of that form, no such file or function, or the file raises.
    """
    file, colon, name = argument.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise UsageError(f"{where}: '{argument}' is not FILE.py:FUNC")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{where}: {file}: no such file")
    module = _run(path.resolve(), where)
    function = getattr(module, name, None)
    if not callable(function):
        own = [key for key, item in vars(module).items() if _is_own(item, module)]
        raise UsageError(
            f"{where}: {file} has no function '{name}'",
            hint=f"it has {', '.join(own)}" if own else "it has no function at all",
        )
    return UserFunction(path.resolve(), function, where)


def load_functions(path: Path, names: Sequence[str], *, where: str) -> dict[str, UserFunction]:
    """Runs a file and returns those of the functions `names` that it defines.

    Raises:
        UsageError: no such file, a name that is no function, or the file raises.
    """
    if not path.is_file():
        raise UsageError(f"{where}: {path}: no such file")
    module = _run(path.resolve(), where)
    found = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name, item in found.items():
        if not callable(item):
            raise UsageError(f"{where}: '{name}' in {path} is not a function")
    return {name: UserFunction(path.resolve(), item, where) for name, item in found.items()}


def _is_own(item: Any, module: Any) -> bool:
    return callable(item) and getattr(item, "__module__", None) == module.__name__


def _run(path: Path, where: str) -> Any:
    # By content and path: a changed file is run again, and no file shadows another.
    source = path.read_bytes()
    key = sha256(str(path).encode() + source).hexdigest()[:16]
    name = f"_edgekit_user_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise UsageError(f"{where}: {path.name} is not a Python file", hint="its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _own_folder(path), _one_sentence(path, where):
            # Not by the loader: it would take the bytecode of a file that was as long and written
            # in the same second, and leave its own beside the user's file.
            exec(spec.loader.source_to_code(source, str(path)), module.__dict__)
    except UsageError:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _own_folder(path: Path) -> Iterator[None]:
    """Lets the file import its neighbours, as `python FILE.py` does."""
    folder = str(path.parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _one_sentence(path: Path, where: str) -> Iterator[None]:
    try:
        yield
    except EdgekitError:  # raised by edgekit itself, below the user's function
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == path
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        place = f"{path.name}, line {line}" if line else path.name
        said = " ".join(str(error).split())
        message = f"{where}: {place}: {type(error).__name__}{': ' + said if said else ''}"
        raise UsageError(message) from error
