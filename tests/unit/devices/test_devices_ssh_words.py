"""Addresses and options of ssh devices, and what of them reaches a command line."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.schema import build
from edgekit.devices import ssh
from edgekit.devices._pipe import shell_word
from edgekit.devices._pipe_errors import refused, stopped
from edgekit.devices._ssh_errors import Host, explain
from edgekit.errors import UsageError


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("//pi5", ssh.Options("pi5")),
        ("//pi5/", ssh.Options("pi5")),
        ("//pi@10.0.0.7:2222", ssh.Options("10.0.0.7", "pi", 2222)),
        ("//pi@[fe80::1%eth0]:22/srv/x y", ssh.Options("fe80::1%eth0", "pi", 22, "/srv/x y")),
        ("//board.local/~/work", ssh.Options("board.local", dir="~/work")),
    ],
)
def test_reads_an_address(address: str, expected: ssh.Options) -> None:
    assert ssh.parse(address) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("pi@board", "'ssh:pi@board' is not of the form ssh://[user@]host[:port][/folder]"),
        ("///tmp", "is not of the form"),
        ("//pi:secret@board", "has a password in it"),
        ("//board:ssh", "the port 'ssh' is not a number"),
        ("//board:0", "the port must be from 1 to 65535, not 0"),
        ("//-oProxyCommand=x", "the host '-oProxyCommand=x' begins with '-'"),
        ("//-x@board", "the user '-x' begins with '-'"),
        ("//bo$(reboot)ard", "is neither a name nor an IP address"),
        ("//board;reboot", "is neither a name nor an IP address"),
        ("//pi%20x@board", "the user 'pi%20x' is no name of a user"),
        ("//board/a\x1b[2Jb", "has control characters in it"),
        ("//board/a\nb", "has control characters in it"),
    ],
)
def test_refuses_an_address(address: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ssh.parse(address)
    assert message in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.message.isprintable()


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        options = ssh.parse(f"//{text}")
    except UsageError:
        return
    words = ssh._rules(options)
    assert not any(word.startswith("-") for word in (options.host, options.user, options.dir))
    assert all(word.isprintable() for word in words)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"python": "-c"}, "python '-c' begins with '-'"),
        ({"python": ""}, "python is empty"),
        ({"dir": "-rf"}, "dir '-rf' begins with '-'"),
        ({"identity": "-F"}, "identity '-F' begins with '-'"),
        ({"connect-seconds": 0}, "connect-seconds must be from 1 to 600, not 0"),
        ({"ssh-options": ["ProxyCommand=x"]}, "'ProxyCommand' cannot be set here"),
        ({"ssh-options": ["StrictHostKeyChecking=no"]}, "cannot be set here"),
        ({"ssh-options": ["ProxyJump"]}, "'ProxyJump' is not ProxyJump=VALUE"),
        ({"ssh-options": ["ProxyJump=-x"]}, "is not ProxyJump=VALUE"),
    ],
)
def test_refuses_options(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ssh.Options, {"host": "board", **table}, where="t.toml: device")
    assert message in caught.value.message


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_path_is_one_word_of_the_shell(path: str) -> None:
    word = shell_word(path)
    if path.startswith("~/"):
        assert word.startswith('"$HOME"/')
        word = word.removeprefix('"$HOME"/')
        path = path[2:]
    assert shlex.split(word) == [path]


def test_a_home_folder_is_the_devices() -> None:
    done = subprocess.run(
        ["sh", "-c", f"echo {shell_word('~/a b/python')}"],
        env={"HOME": "/there"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "/there/a b/python\n"


def test_what_this_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ssh.Options("board", "pi", identity=str(tmp_path / "key"))
    assert ssh.unavailable(options) == f"identity '{tmp_path}/key': no such file"
    (tmp_path / "key").touch()
    assert ssh.unavailable(options) == ""
    ssh.install(options, None)  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="pi@board: the program 'ssh' is not installed: install"):
        ssh.connect(options)
    with pytest.raises(UsageError, match="not installed"):
        ssh.install(options, None)  # type: ignore[arg-type]


def test_the_rules_come_before_what_a_project_sets() -> None:
    options = ssh.Options("board", port=2222, ssh_options=("Compression=yes",), identity="key")
    words = ssh._rules(options)
    for rule in ("BatchMode=yes", "StrictHostKeyChecking=yes"):
        assert words.index(rule) < words.index("Compression=yes")
    assert {"-T", "-a", "-x"} <= set(words)
    assert words[words.index("-p") + 1] == "2222"


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("ssh: connect to host board port 22: No route to host", "cannot be reached from here"),
        ("ssh: connect to host board port 22: Connection timed out", "did not answer in time"),
        ("Timeout, server board not responding.", "dropped the connection during the test"),
        ("Unable to negotiate with 10.0.0.7 port 22: no matching host key", "no algorithm"),
        (
            "Received disconnect from 10.0.0.7 port 22:2: Too many authentication failures\n"
            "Disconnected from 10.0.0.7 port 22",
            "did not accept any key",
        ),
        ("Bad owner or permissions on /home/me/.ssh/config\n", "ssh failed: Bad owner or perm"),
        ("", "dropped the connection during the test"),
        ("INFO: Created TensorFlow Lite XNNPACK delegate\n", "dropped the connection during"),
    ],
)
def test_what_ssh_says(stderr: str, message: str) -> None:
    error = explain(Host("board", "pi", None), 255, stderr, during="during the test")
    assert error is not None
    assert error.message.startswith("pi@board: ")
    assert message in error.message
    assert error.hint
    assert explain(Host("board", "pi", None), 1, stderr) is None


def test_names_of_a_host() -> None:
    host = Host("fe80::1", "pi", 2222)
    assert host.label == "pi@[fe80::1]:2222"
    assert host.known_as == "[fe80::1]:2222"
    assert Host("board", "", None).command("ssh") == "ssh board"
    assert ssh.describe(ssh.Options("raspberrypi.local", "pi")) == "pi@raspberrypi.local"
    assert ssh.untimed(ssh.Options("h")) == ""


def test_what_a_device_refuses() -> None:
    assert "'x' arrived damaged" in str(refused("pi5", {"error": "damaged", "path": "x"}))
    full = refused("pi5", {"error": "No space left", "code": 28, "path": "/x", "free": 12})
    assert "the disk is full: 12 B free in /x" in str(full)
    assert "the disk is full: no space" in str(refused("pi5", {"error": "full"}))
    assert "signal 9" in str(stopped("pi5", "python3", -9, "", "in the middle"))
