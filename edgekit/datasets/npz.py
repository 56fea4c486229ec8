"""Arrays of an .npz file: x_train, y_train, x_test, y_test, or x and y."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Dataset, Pool
from edgekit.core.notes import Note
from edgekit.datasets._digest import Digest
from edgekit.datasets._labels import read_labels
from edgekit.datasets._npy import NpzReader
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Options", "load", "sniff"]

_CLASS_NAMES = "class_names"


@dataclass(frozen=True)
class Options:
    """An .npz file has no options of its own."""


@dataclass(frozen=True)
class _Layout:
    """The array names of each pool; no input names where the inputs go by position."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    input_names: tuple[str, ...]
    train_labels: str | None
    test_labels: str | None


def sniff(path: Path) -> bool:
    """Recognises what this kind of data comes in, by its name."""
    return path.is_file() and path.suffix == ".npz"


def load(argument: str, options: Options, signature: Signature | None) -> Dataset:
    """Reads an .npz file.

    Inputs are `x` (one input) or arrays called like the model's inputs (any number); each either as
    it is, to be split by seed, or with the endings _train and _test. `y`, `y_train` and `y_test`
    are labels and may be absent. With _test arrays alone there is nothing to train or calibrate on.
    `class_names` (text) names the classes. What else the file holds is left out and noted. Arrays
    above 64 MB are memory-mapped.

    Raises:
        UsageError: no such file, no .npz, arrays missing (lists what is there, with the nearest
            name), test arrays of some inputs only, Python objects, or labels that are no class
            indices.
    """
    where = f"--data 'npz:{argument}'"
    path = _file(argument, where)
    reader = NpzReader(path, where=where)
    layout = _layout(reader.names, signature, where)
    digest = Digest("npz", layout)
    digest.add_file(path)
    train_y, test_y = (
        reader.read(name) if name else None for name in (layout.train_labels, layout.test_labels)
    )
    labels, text_names, notes = read_labels((train_y, test_y), where=where, signature=signature)
    train, test = _inputs(reader, layout.train), _inputs(reader, layout.test)
    if not train:
        train = tuple(item[:0] for item in test)
    return Dataset(
        name=f"npz:{argument}",
        train=Pool(train, labels[0]),
        test=Pool(test, labels[1]) if test else None,
        digest=digest.hexdigest(),
        class_names=_class_names(reader, where) or text_names,
        input_names=layout.input_names,
        notes=(*notes, *_left_out(reader.names, layout)),
    )


def _left_out(names: tuple[str, ...], layout: _Layout) -> tuple[Note, ...]:
    used = {*layout.train, *layout.test, layout.train_labels, layout.test_labels, _CLASS_NAMES}
    others = [f"'{name}'" for name in names if name not in used]
    if not others:
        return ()
    what = f"array{'' if len(others) == 1 else 's'} {', '.join(others)}"
    return (Note("left out", what, "the model has no such input, and it is no label"),)


def _file(argument: str, where: str) -> Path:
    if not argument:
        raise UsageError(f"{where}: the file is missing", hint="write npz:FILE")
    path = Path(argument)
    if not path.is_file():
        raise UsageError(f"{where}: {'is a folder' if path.is_dir() else 'no such file'}")
    return path


def _inputs(reader: NpzReader, names: tuple[str, ...]) -> tuple[NDArray[Any], ...]:
    return tuple(reader.read(name) for name in names)


def _class_names(reader: NpzReader, where: str) -> tuple[str, ...]:
    if _CLASS_NAMES not in reader.names:
        return ()
    names = reader.read(_CLASS_NAMES)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UsageError(f"{where}: class_names must be a list of texts, not {names.dtype}")
    return tuple(str(name) for name in names)


def _layout(names: tuple[str, ...], signature: Signature | None, where: str) -> _Layout:
    """Finds the inputs: `x`, else those called like the model's, else (no model) all others."""
    for stems, named in _candidates(names, signature):
        train = tuple(_first(names, f"{stem}_train", stem) for stem in stems)
        test = tuple(_first(names, f"{stem}_test") for stem in stems)
        if all(train) or (all(test) and not any(train)):
            _refuse_gaps(stems, test, where)
            return _Layout(
                train=train if all(train) else (),
                test=test if all(test) else (),
                input_names=stems if named else (),
                train_labels=_first(names, "y_train", "y") or None if all(train) else None,
                test_labels=_first(names, "y_test") or None if all(test) else None,
            )
    wanted = " or ".join(", ".join(stems) for stems, _ in _candidates(names, signature))
    raise UsageError(
        f"{where}: the inputs {wanted} (or each with _train and _test) are not there; "
        f"it has {', '.join(names) or 'no array at all'}",
        hint=_nearest(names, signature)
        or "np.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)",
    )


def _refuse_gaps(stems: tuple[str, ...], test: tuple[str, ...], where: str) -> None:
    """Test arrays of some inputs only would silently not be used."""
    if any(test) and not all(test):
        lacking = next(stem for stem, name in zip(stems, test, strict=True) if not name)
        held = next(name for name in test if name)
        raise UsageError(f"{where}: has the array {held}, and not {lacking}_test")


def _nearest(names: tuple[str, ...], signature: Signature | None) -> str:
    """A hint with the array that was probably meant for the first input that has none."""
    endings = ("_train", "_test", "")
    for spec in signature.inputs if signature is not None else ():
        wanted = [spec.name + ending for ending in endings]
        if any(name in names for name in wanted):
            continue
        near = [get_close_matches(name, names, n=1, cutoff=0.6) for name in wanted]
        found = next((match[0] for match in near if match), "")
        if found:
            ending = next(item for item in endings if found.endswith(item))
            return f"rename the array '{found}' to '{spec.name}{ending}'"
    return ""


def _candidates(
    names: tuple[str, ...], signature: Signature | None
) -> list[tuple[tuple[str, ...], bool]]:
    found: list[tuple[tuple[str, ...], bool]] = [(("x",), False)]
    if signature is not None:
        if len(signature.inputs) > 1:
            found.clear()
        found.append((tuple(spec.name for spec in signature.inputs), True))
        return found
    labels = {"y", "y_train", "y_test", _CLASS_NAMES}
    stems = [n.removesuffix("_train").removesuffix("_test") for n in names if n not in labels]
    if stems and "x" not in stems:
        found.append((tuple(dict.fromkeys(stems)), True))
    return found


def _first(names: tuple[str, ...], *wanted: str) -> str:
    return next((name for name in wanted if name in names), "")
