"""The devices of `edgekit.toml`, and what `--on` makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.on import parse_on, project_target
from edgekit.core.project import ProjectDevice, load_devices
from edgekit.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str) -> None:
    Path("edgekit.toml").write_text(text)


PI5 = """
[[check]]
anything = "of another kind"

[devices.pi5]
on = "ssh://pi@raspberrypi.local:2222/srv"
target = "raspberry-pi-5"
python = "~/venv/bin/python"
identity = "~/.ssh/pi"
connect-seconds = 20
ssh-options = ["ProxyJump=gate"]

[devices.phone]
on = "adb:R58M"
"""


def test_no_file_no_devices() -> None:
    assert load_devices() == {}
    assert project_target("pi5") == ""


def test_reads_the_devices(folder: Path) -> None:
    write(PI5)
    devices = load_devices(folder)
    assert list(devices) == ["pi5", "phone"]
    assert devices["phone"] == ProjectDevice("adb:R58M")
    assert project_target("pi5") == "raspberry-pi-5"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("devices = 3", "edgekit.toml: devices: must be tables, [devices.NAME]", ""),
        ("[devices]\npi = 3", "edgekit.toml: devices.pi: must be a table, not 3", "[devices.pi]"),
        ("[devices.pi]", "edgekit.toml: devices.pi: the key 'on' is missing", ""),
        (
            '[devices.pi]\non = "ssh://pi"\npyhton = "x"',
            "edgekit.toml: devices.pi: unknown key 'pyhton'",
            "did you mean 'python'",
        ),
        ('[devices."a:b"]\non = "x"', "'a:b' cannot be the name of a device", "letters"),
        ("[devices", "edgekit.toml: not valid TOML", ""),
    ],
)
def test_refuses_a_file(text: str, message: str, hint: str) -> None:
    write(text)
    with pytest.raises(UsageError) as caught:
        load_devices()
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_on_takes_an_address_a_name_or_this_machine() -> None:
    from edgekit.devices import adb, ssh

    write(PI5)
    assert parse_on("this-machine") is None
    spec = parse_on("ssh://pi@board")
    assert spec is not None
    assert (spec.via, spec.options, spec.label) == ("ssh", ssh.Options("board", "pi"), "pi@board")
    named = parse_on("pi5")
    assert named is not None
    assert named.label == "pi5 (pi@raspberrypi.local:2222)"
    assert named.options == ssh.Options(
        *("raspberrypi.local", "pi", 2222, "/srv", "~/venv/bin/python"),
        connect_seconds=20,
        identity="~/.ssh/pi",
        ssh_options=("ProxyJump=gate",),
    )
    phone = parse_on("phone")
    assert phone is not None
    assert (phone.via, phone.options) == ("adb", adb.Options("R58M"))


@pytest.mark.parametrize(
    ("on", "message", "hint"),
    [
        ("pi", "--on: 'pi' is no address, and no device of edgekit.toml", "did you mean 'pi5'"),
        ("pi@board", "'pi@board' is no address", "ssh://[user@]host[:port][/folder]"),
        ("ftp://board", "--on: 'ftp://board' is no address of a device", "adb:SERIAL"),
        ("this-machin", "is no address", "'this-machine'"),
        ("ssh:board", "'ssh:board' is not of the form", "ssh://pi@raspberrypi"),
        ("a\x1b[2Jb", "is no address", ""),
    ],
)
def test_refuses_an_on(on: str, message: str, hint: str) -> None:
    write(PI5)
    with pytest.raises(UsageError) as caught:
        parse_on(on)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('on = "board"', "edgekit.toml: devices.x: on: 'board' is no address of a device"),
        ('on = "adb:A"\nidentity = "key"', "edgekit.toml: devices.x: identity means nothing for"),
        ('on = "ssh://b"\npython = "-c"', "edgekit.toml: devices.x: python '-c' begins with '-'"),
        (
            'on = "ssh://b"\nssh-options = ["ProxyCommand=reboot"]',
            "edgekit.toml: devices.x: ssh-options: 'ProxyCommand' cannot be set here",
        ),
    ],
)
def test_refuses_a_device_when_it_is_used(table: str, message: str) -> None:
    write(f"[devices.x]\n{table}")
    with pytest.raises(UsageError) as caught:
        parse_on("x")
    assert message in caught.value.message
