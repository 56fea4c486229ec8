"""The zip of a bundle: the same bytes for the same files, and never opened on trust."""

from __future__ import annotations

import contextlib
import errno
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgekit.core.bundle import is_safe_name
from edgekit.errors import UsageError
from edgekit.frameworks.files import sha256
from edgekit.text import clean

__all__ = ["MOST_BYTES", "SUMS", "checked_sums", "unzip", "write_zip"]

SUMS = "SHA256SUMS"
"""The file that has a line `sha256  name` for every other one."""
MOST_BYTES = 8_000_000_000
_MOST_FILES = 64
_MOST_DIRECTORY = 65_536
_MOST_RATIO = 200
_ALWAYS_BYTES = 64_000_000
"""What a bundle may hold however well it is compressed: pruned weights are mostly zeros."""
_DATE = (1980, 1, 1, 0, 0, 0)
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_CHUNK = 1 << 20
_ENCRYPTED = 0x1


def write_zip(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Writes files by name: in the order of the names, with one date and one mode, so that the
    bytes depend on nothing but the content (and on the version of zlib)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.compress_type = 3, zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            if isinstance(content, bytes):
                archive.writestr(info, content, compresslevel=9)
                continue
            info.file_size = content.stat().st_size  # so that it is known whether 32 bits do
            with content.open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, _CHUNK)


def unzip(path: Path, folder: Path) -> None:
    """Unpacks a bundle into an empty folder, after every name and size in it was checked.

    Raises:
        UsageError: one sentence on what is wrong with it; the folder may hold a part of it then.
    """
    where = f"bundle '{path}'"
    with _damage_named(where):
        _check_end(path, where)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_entries(infos, where, path.stat().st_size)
            for info in infos:
                place = folder / info.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, place.open("xb") as target:
                    _copy(source, target, info, where)


@contextlib.contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Whatever the zip reader stumbles over in a damaged file is one sentence."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        EOFError,
        RuntimeError,
        ValueError,
        OverflowError,
        IndexError,
    ) as error:
        reason = clean(str(error) or type(error).__name__, most=120)
        raise UsageError(
            f"{where}: is damaged: {reason[:1].lower() + reason[1:]}", hint="copy it again"
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise UsageError(
            f"{where}: is damaged: it points before its own beginning", hint="copy it again"
        ) from None


def _check_end(path: Path, where: str) -> None:
    """Looks at the last bytes before the reader, which would take a directory of any size."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 98))
        tail = file.read()
    end = tail[-22:]
    if len(end) < 22 or end[:4] != _END:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        what = "is cut off, or has something behind it" if is_zip else "is no bundle"
        raise UsageError(f"{where}: {what}", hint="copy it again" if is_zip else "name an .ekb")
    counts = [struct.unpack("<HHI", end[8:16])]
    if tail[-42:-38] == _LOCATOR64:
        if len(tail) < 98 or tail[:4] != _END64:
            raise UsageError(f"{where}: is damaged: its directory is not at its end")
        counts.append(struct.unpack("<QQQ", tail[24:48]))
    for here, entries, bytes_of_directory in counts:
        if max(here, entries) > _MOST_FILES or bytes_of_directory > _MOST_DIRECTORY:
            raise UsageError(f"{where}: has more than {_MOST_FILES} files, so it is no bundle")


def _check_entries(infos: list[zipfile.ZipInfo], where: str, zipped: int) -> None:
    seen: set[str] = set()
    for info in infos:
        shown = clean(info.orig_filename, most=80)
        if not is_safe_name(info.filename) or info.orig_filename != info.filename:
            raise UsageError(
                f"{where}: has the entry '{shown}', which is no name of a file inside a folder",
                hint="do not unpack it by hand: it was not made by edgekit",
            )
        if info.filename.lower() in seen:
            raise UsageError(f"{where}: has the entry '{shown}' twice")
        seen.add(info.filename.lower())
        mode = info.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise UsageError(f"{where}: the entry '{shown}' is a link or no file")
        if info.flag_bits & _ENCRYPTED:
            raise UsageError(f"{where}: the entry '{shown}' is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UsageError(f"{where}: the entry '{shown}' is compressed in an unknown way")
    for name in seen:
        folders = name.split("/")[:-1]
        above = {"/".join(folders[:depth]) for depth in range(1, len(folders) + 1)}
        if above & seen:
            raise UsageError(f"{where}: has '{sorted(above & seen)[0]}' as a file and as a folder")
    total = sum(info.file_size for info in infos)
    if total > MOST_BYTES or total > max(_ALWAYS_BYTES, _MOST_RATIO * zipped):
        raise UsageError(
            f"{where}: would unpack to {total:,} bytes from {zipped:,}, so it is no bundle"
        )


def _copy(source: object, target: object, info: zipfile.ZipInfo, where: str) -> None:
    """Copies no more than was declared, whatever the reader gives."""
    left = info.file_size
    while block := source.read(_CHUNK):  # type: ignore[attr-defined]
        left -= len(block)
        if left < 0:
            break
        target.write(block)  # type: ignore[attr-defined]
    if left:
        raise UsageError(f"{where}: '{info.filename}' has another size than it declares")


def checked_sums(folder: Path, *, where: str) -> frozenset[str]:
    """The names in a folder, once all its files are those that SHA256SUMS lists.

    Raises:
        UsageError: a file is missing, changed, or not listed; the first such is named.
    """
    listed = _listed(folder / SUMS, where)
    held = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    problems = [
        *((name, "is missing") for name in sorted(listed.keys() - held)),
        *((name, f"is not listed in {SUMS}") for name in sorted(held - listed.keys() - {SUMS})),
    ]
    if problems:
        name, problem = problems[0]
        raise UsageError(f"{where}: the file '{clean(name)}' {problem}", hint="copy it again")
    for name, digest in listed.items():
        if (folder / name).is_symlink() or sha256(folder / name) != digest:
            raise UsageError(f"{where}: the file '{name}' was changed", hint="copy it again")
    return frozenset(listed)


def _listed(path: Path, where: str) -> dict[str, str]:
    try:
        data = b"" if path.is_symlink() else path.read_bytes()[: _MOST_DIRECTORY + 1]
    except OSError:
        raise UsageError(f"{where}: the file '{SUMS}' is missing", hint="copy it again") from None
    lines = data.decode("utf-8", "replace").split("\n")
    found: dict[str, str] = {}
    for line in lines[:-1]:
        digest, gap, name = line[:64], line[64:66], line[66:]
        is_hex = len(digest) == 64 and not set(digest) - set("0123456789abcdef")
        if not is_hex or gap != "  " or not is_safe_name(name) or name in found or name == SUMS:
            raise UsageError(f"{where}: {SUMS} has the line '{clean(line)}', which says nothing")
        found[name] = digest
    if not found or lines[-1]:
        raise UsageError(f"{where}: {SUMS} is empty or cut off", hint="copy it again")
    return found
