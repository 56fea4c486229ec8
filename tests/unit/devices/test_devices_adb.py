"""Android devices, through a program that behaves as adb does: there is no device to test with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices import adb
from edgekit.devices._adb_errors import explain
from edgekit.errors import UnmeasuredError, UsageError

FAKE = """#!{python}
import os, sys, time
serial, command, *rest = sys.argv[2:]
assert sys.argv[1] == "-s"
failure = os.environ.get("FAKE_ADB", "")
if serial != "emulator-5554":
    sys.exit(f"error: device '{{serial}}' not found")
if command == "get-state":
    if failure == "slow":
        time.sleep(30)
    if failure == "recovery":
        print(failure)
    elif failure and failure != "closed":
        sys.exit(failure)
    else:
        print("device")
elif command == "shell" and rest[0] == "-T":
    if failure == "closed":
        sys.exit("error: closed")
    os.execvp("sh", ["sh", "-c", *rest[1:]])
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> adb.Options:
    program = tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return adb.Options("emulator-5554", dir=str(tmp_path / "device"), python=sys.executable)


def test_files_go_there_bytes_come_back_and_nothing_stays(
    options: adb.Options, tmp_path: Path
) -> None:
    script = tmp_path / "run.py"
    script.write_text("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])")
    link = adb.connect(options)
    try:
        link.put({"serve.py": script})
        process = link.start(["serve.py"])
        out, _ = process.communicate(bytes(range(256)), timeout=10)
        assert out == bytes(range(256))[::-1]
    finally:
        link.close()
    assert not list((tmp_path / "device").iterdir())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n",
            "does not allow this machine to debug it",
        ),
        ("error: device offline", "is offline"),
        ("error: no devices/emulators found", "is not connected to this machine"),
        ("error: more than one device/emulator", "several devices answer"),
        ("error: insufficient permissions for device", "this user may not use it on USB"),
        ("* failed to start daemon *\nerror: cannot connect to daemon", "adb server does not st"),
        ("recovery", "is not ready: 'recovery'"),
        ("error: something new", "is not ready: 'error: something new'"),
        ("closed", "dropped the connection before it answered"),
    ],
)
def test_what_adb_refuses(
    options: adb.Options, monkeypatch: pytest.MonkeyPatch, failure: str, message: str
) -> None:
    monkeypatch.setenv("FAKE_ADB", failure)
    with pytest.raises(UnmeasuredError) as caught:
        adb.connect(options)
    assert caught.value.message.startswith("Android device emulator-5554: ")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_device_that_is_not_there(options: adb.Options) -> None:
    with pytest.raises(UnmeasuredError, match="Android device R58M: is not connected"):
        adb.connect(adb.parse("R58M"))


def test_an_adb_that_hangs(options: adb.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ADB", "slow")
    quick = adb.Options("emulator-5554", connect_seconds=1)
    with pytest.raises(UnmeasuredError, match="adb did not answer within 1 s"):
        adb.connect(quick)


def test_no_python_there(options: adb.Options, tmp_path: Path) -> None:
    with pytest.raises(UnmeasuredError, match="the program 'no-python' cannot be started there"):
        adb.connect(adb.Options("emulator-5554", str(tmp_path), "no-python"))


def test_no_adb_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    options = adb.Options("emulator-5554")
    assert adb.unavailable(options).startswith("the program 'adb' is not installed: ")
    for call in (adb.connect, lambda o: adb.install(o, None)):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="Android device emulator-5554: the program 'adb'"):
            call(options)


def test_an_error_line_of_a_program_on_the_device_is_not_adbs() -> None:
    assert explain("x", "error: the bundle is damaged\nhint: copy it again", "") is None


def test_reads_an_address() -> None:
    assert adb.parse("emulator-5554") == adb.Options("emulator-5554")
    assert adb.parse("192.168.1.5:5555/data/x").dir == "/data/x"
    assert adb.describe(adb.parse("R58M/")) == "Android device R58M"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "'adb:' is not of the form adb:SERIAL"),
        ("/data", "is not of the form"),
        ("-s", "the serial number '-s' begins with '-'"),
        ("a b", "'a b' is no serial number of a device"),
        ("R58M/a\nb", "has control characters in it"),
    ],
)
def test_refuses_an_address(address: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        adb.parse(address)
    assert message in caught.value.message


@pytest.mark.parametrize("more", [{"python": ""}, {"connect_seconds": 1000.0}])
def test_refuses_options(more: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"python is empty|connect-seconds must be"):
        adb.Options("R58M", **more)  # type: ignore[arg-type]


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        assert not adb.parse(text).serial.startswith("-")
    except UsageError as error:
        assert error.message.isprintable()
