"""What --delegate says, and a library that is looked at before anything loads it."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.device import Delegate
from edgekit.engine.delegation import NO_DELEGATION, Delegation, check_library, parse_delegate
from edgekit.errors import UsageError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the libraries of Linux are ELF files")
CREATE = b"tflite_plugin_create_delegate\0"
WORDS = st.text("abcXYZ019_.-", min_size=1, max_size=8)
MACHINES = {"x86_64": 62, "aarch64": 183}


def elf(machine: int, rest: bytes = CREATE) -> bytes:
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + machine.to_bytes(2, "little") + rest


def here() -> int:
    return MACHINES.get(platform.machine(), 62)


@pytest.mark.parametrize(
    ("text", "library", "options"),
    [
        ("libx.so", "libx.so", {}),
        ("libx.so:", "libx.so", {}),
        ("/a b/libx.so:k=v,l=w=x", "/a b/libx.so", {"k": "v", "l": "w=x"}),
        ("CUDA:device_id=0", "CUDA", {"device_id": "0"}),
        ("x.so:path=/a:b", "x.so", {"path": "/a:b"}),
    ],
)
def test_a_library_and_its_options(text: str, library: str, options: dict[str, str]) -> None:
    assert parse_delegate(text) == Delegate(library, options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--delegate '': names no library"),
        (":k=v", "names no library"),
        ("x.so:k", "the option 'k' is no KEY=VALUE"),
        ("x.so:k=v,", "the option '' is no KEY=VALUE"),
        ("x.so:=v", "the option '=v' is no KEY=VALUE"),
        ("x.so:k=1,k=2", "says 'k' twice"),
        ("x\x1b.so", "names no library"),
    ],
)
def test_what_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_delegate(text)
    assert said in str(caught.value)
    assert caught.value.hint


@given(WORDS, st.dictionaries(WORDS, WORDS, max_size=3), st.booleans())
def test_the_words_say_the_same_again(library: str, options: dict[str, str], strict: bool) -> None:
    said = Delegation((Delegate(library, options),), strict)
    option, text, *rest = said.words()
    assert Delegation.parse([text], strict=rest == ["--strict"]) == said
    assert option == "--delegate"


def test_by_default_nothing_is_said() -> None:
    assert Delegation.parse([]) == NO_DELEGATION
    assert NO_DELEGATION.words() == []


@LINUX
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no shared library (ELF)"),
        (b"\x7fELF", "is no TFLite delegate"),
        (b"#!/bin/sh\n" * 9, "is no shared library (ELF)"),
        (elf(here(), b"something else"), "has no tflite_plugin_create_delegate"),
        (elf(40), "is built for armv7l, and this machine is"),
        (elf(9999), "is built for another processor (ELF machine 9999)"),
    ],
)
def test_what_cannot_be_a_delegate_here(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "libx.so"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        check_library(str(path))
    assert caught.value.message.startswith(f"--delegate '{path}': ")
    assert said in caught.value.message
    assert caught.value.hint


def test_what_is_not_there_a_folder_or_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, said in ((tmp_path / "no.so", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(UsageError, match=said):
            check_library(str(path))
    path = tmp_path / "x.so"
    path.write_bytes(elf(here()))

    def denied(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        check_library(str(path))


@LINUX
def test_what_can_be_one_gets_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libx.so").write_bytes(elf(here()))
    monkeypatch.chdir(tmp_path)
    assert check_library("libx.so") == str(tmp_path / "libx.so")
    monkeypatch.setattr(platform, "machine", lambda: "a toaster")
    assert check_library("libx.so"), "nobody knows what a toaster loads"


@LINUX
def test_a_32_bit_python_loads_32_bit_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libx.so").write_bytes(elf(40))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert check_library(str(tmp_path / "libx.so"))
