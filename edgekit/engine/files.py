"""Files that appear whole or not at all: temporary names, renames, output folders."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import UsageError

__all__ = ["disk_errors", "new_file", "new_folder", "remove", "size_bytes"]


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """Turns a full disk, a read-only place or missing rights into a usage error about `path`."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "free some space, or choose another place",
            errno.EDQUOT: "free some space, or choose another place",
            errno.EROFS: "choose a place that can be written to",
            errno.EACCES: "choose a place that you may write to",
            errno.EPERM: "choose a place that you may write to",
            errno.EEXIST: "a part of that path is a file, not a folder",
            errno.ENOTDIR: "a part of that path is a file, not a folder",
            errno.ENAMETOOLONG: "choose a shorter name",
            errno.ENOTEMPTY: "another program wrote there meanwhile: run it again",
        }
        if error.errno not in hints:
            raise
        raise UsageError(
            f"{what} '{path}': {os.strerror(error.errno).lower()}", hint=hints[error.errno]
        ) from None


@contextlib.contextmanager
def new_folder(path: Path, *, what: str, replaces: frozenset[str], force: bool) -> Iterator[Path]:
    """Yields a temporary folder beside `path` that takes its name if the block succeeds.

    The folder is made before any work, so a place that cannot be written to is found at once. With
    `force` an existing folder is replaced, but only one that holds nothing but files with a name in
    `replaces`: a mistyped path never costs a user other files. Both are looked at again at the end.

    Raises:
        UsageError: the path exists (without `force`), holds other files, or cannot be written.
    """
    place = _place(path, what=what)
    with _turn_in(place.parent):
        _check_replaceable(place, path, what=what, replaces=replaces, force=force)
    with _beside(place, what=what) as temporary:
        temporary.chmod(0o755)
        yield temporary
        with _turn_in(place.parent):
            _check_replaceable(place, path, what=what, replaces=replaces, force=force)
            with disk_errors(what, path):
                _swap(temporary, place)


@contextlib.contextmanager
def new_file(path: Path, *, what: str, force: bool) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same name) that takes its place on success.

    What else is written beside the temporary path goes along under its own name.

    Raises:
        UsageError: the path exists (without `force`), is a folder, or cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{what} '{path}' is a folder", hint="name a file")
    if path.exists() and not force:
        raise UsageError(f"{what} '{path}' exists already", hint="use --force to replace it")
    place = path.absolute()
    with _beside(place, what=what) as folder:
        yield folder / path.name
        with _turn_in(place.parent):
            others = [item for item in folder.iterdir() if item.name != path.name]
            for item in others:
                if (path.parent / item.name).exists() and not force:
                    raise UsageError(
                        f"{what} '{path}': its file '{item.name}' exists already",
                        hint="use --force to replace it, or choose another folder",
                    )
            with disk_errors(what, path):
                for item in (*others, folder / path.name):
                    os.replace(item, place.parent / item.name)


@contextlib.contextmanager
def _beside(path: Path, *, what: str) -> Iterator[Path]:
    """A temporary folder beside `path`; folders made on the way go again if the block fails."""
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        with disk_errors(what, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
        finally:
            remove(temporary)
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def _turn_in(folder: Path) -> Iterator[None]:
    """Waits until no other run is putting its result into `folder`: looking and renaming are one.

    Where the disk knows no locks (some network drives), runs do not wait for each other; a meeting
    of two is then an error of one of them, never a mixture.
    """
    import fcntl

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _place(path: Path, *, what: str) -> Path:
    """The folder that is really meant: links followed, '..' resolved; never one that is in use."""
    place = path.resolve()
    if place == Path.cwd() or place in Path.cwd().parents or os.path.ismount(place):
        raise UsageError(
            f"{what} '{path}' is a folder in use, which cannot be replaced as a whole",
            hint=f"name a new folder, such as {path / 'out'}",
        )
    return place


def _check_replaceable(
    place: Path, path: Path, *, what: str, replaces: frozenset[str], force: bool
) -> None:
    if not place.exists():
        return
    if not place.is_dir():
        raise UsageError(f"{what} '{path}' is a file", hint="name a folder")
    with disk_errors(what, path):
        held = sorted(place.iterdir())
    foreign = [item.name for item in held if item.name not in replaces]
    if foreign:
        raise UsageError(
            f"{what} '{path}' holds files that edgekit did not make, such as '{foreign[0]}'",
            hint="name another folder",
        )
    if held and not force:
        raise UsageError(f"{what} '{path}' exists already", hint="use --force to replace it")


def _swap(new: Path, path: Path) -> None:
    """Renames `new` to `path`; what was there is moved aside first and removed afterwards."""
    if not path.exists():
        os.replace(new, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        os.replace(path, old / "replaced")
        try:
            os.replace(new, path)
        except OSError:
            os.replace(old / "replaced", path)
            raise
    finally:
        remove(old)
