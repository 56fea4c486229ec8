"""A device behind a real ssh server on this machine: files there, a conversation, nothing left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sshd import Sshd, free_port, running_sshd

from edgekit.devices import ssh
from edgekit.errors import UnmeasuredError, UsageError

ECHO = """
import os, sys
print(os.getpid(), flush=True)
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
"""
EVERY_BYTE = bytes(range(10)) + bytes(range(11, 256)) + b"\n"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@contextlib.contextmanager
def connected(server: Sshd, **more: object) -> Iterator[Any]:
    link = ssh.connect(ssh.Options(**server.options(**more)))  # type: ignore[arg-type]
    try:
        yield link
    finally:
        link.close()


def refusal(server: Sshd, **more: object) -> UnmeasuredError:
    with pytest.raises(UnmeasuredError) as caught, connected(server, **more):
        pass
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value


def started(link: Any, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The echoing program there, and its process number."""
    (folder / "run.py").write_text(ECHO)
    link.put({"serve.py": folder / "run.py"})
    process = link.start(["serve.py"])
    return process, int(process.stdout.readline())


def is_soon(true: Callable[[], bool]) -> bool:
    for _ in range(250):
        if true():
            return True
        time.sleep(0.02)
    return False


def has_ended(pid: int) -> bool:
    """Not there, or a zombie that its parent has not looked at yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def shut(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()


def test_files_go_there_bytes_come_back_and_nothing_stays(sshd: Sshd, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(1_000_000))
    base = sshd.home / ".edgekit"
    with connected(sshd) as link:
        link.put({"golden/input_0.npy": data})
        process, pid = started(link, tmp_path)
        (folder,) = base.iterdir()
        assert (folder / "golden/input_0.npy").read_bytes() == data.read_bytes()
        assert folder.stat().st_mode & 0o777 == 0o700
        process.stdin.write(EVERY_BYTE)
        process.stdin.flush()
        assert process.stdout.readline() == EVERY_BYTE
        sockets = [*Path(link._way.first("")[link._way.first("").index("-S") + 1]).parent.iterdir()]
        assert sockets  # one connection, shared
    assert not list(base.iterdir())
    assert not sockets[0].parent.exists()
    assert has_ended(pid)
    assert process.returncode == 0
    shut(process)
    link.close()  # again, as an error and a `finally` do


def test_the_program_there_ends_when_ssh_is_killed_here(sshd: Sshd, tmp_path: Path) -> None:
    with connected(sshd) as link:
        process, pid = started(link, tmp_path)
        assert not has_ended(pid)
        process.kill()
        assert is_soon(lambda: has_ended(pid))
        shut(process)


def test_nothing_stays_when_edgekit_itself_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(ECHO)
    code = (
        "import sys, os, pathlib; from edgekit.devices import ssh\n"
        f"link = ssh.connect(ssh.Options(**{sshd.options()!r}))\n"
        f"link.put({{'run.py': pathlib.Path({str(tmp_path / 'run.py')!r})}})\n"
        "print(int(link.start(['run.py']).stdout.readline()), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    # The folder of the shared connection's socket is all that a kill leaves here.
    environment = {**os.environ, "TMPDIR": str(sshd.folder)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    assert is_soon(lambda: has_ended(pid))
    assert is_soon(lambda: not list((sshd.home / ".edgekit").iterdir()))
    assert is_soon(lambda: not sshd.sessions())


def test_a_connection_lost_in_the_middle_is_an_error_and_leaves_nothing(
    sshd: Sshd, tmp_path: Path
) -> None:
    base = sshd.home / "lost"
    data = tmp_path / "data"
    data.write_bytes(bytes(100_000))
    with (
        pytest.raises(UnmeasuredError, match="dropped the connection while files were copied") as e,
        connected(sshd, dir=str(base)) as link,
    ):
        process, pid = started(link, tmp_path)
        for session in sshd.sessions():
            os.kill(session, signal.SIGKILL)
        code = process.wait(5)
        assert code == 255
        said = process.stderr.read().decode()
        assert "dropped the connection during the benchmark" in str(
            link.ended(code, said, during="during the benchmark")
        )
        shut(process)
        link.put({"data": data})
    assert "try again" in e.value.hint
    assert is_soon(lambda: has_ended(pid))
    assert is_soon(lambda: not list(base.iterdir()))


def test_a_dead_board_is_noticed(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_ALIVE_SECONDS", 1)
    monkeypatch.setattr(ssh, "_ALIVE_COUNT", 1)
    with connected(sshd) as link:
        process, _ = started(link, tmp_path)
        sessions = sshd.sessions()
        for session in sessions:
            os.kill(session, signal.SIGSTOP)
        try:
            assert process.wait(10) == 255
        finally:
            for session in sessions:
                os.kill(session, signal.SIGCONT)
        shut(process)
        text = (link._agent.outcome()[0], link._agent.outcome()[1])
        assert "dropped the connection" in str(link.ended(*text, during=""))


def test_a_server_that_allows_one_session_a_connection(tmp_path: Path) -> None:
    with (
        running_sshd(tmp_path, extra="MaxSessions 1") as server,
        connected(server) as link,
    ):
        process, _ = started(link, tmp_path)
        assert process.poll() is None
        shut(process)


def test_refusals_of_the_server(sshd: Sshd, tmp_path: Path) -> None:
    label = f"{sshd.options()['user']}@127.0.0.1:{sshd.port}"
    empty, wrong, key = tmp_path / "empty", tmp_path / "wrong", tmp_path / "key"
    empty.touch()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    wrong.write_text(f"[127.0.0.1]:{sshd.port} {key.with_suffix('.pub').read_text()}")

    unknown = refusal(sshd, ssh_options=(f"UserKnownHostsFile={empty}",))
    assert str(unknown).startswith(f"{label}: its host key is not known yet")
    assert f"ssh -o UserKnownHostsFile={empty} -p {sshd.port} " in unknown.hint
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 >>" in unknown.hint
    changed = refusal(sshd, ssh_options=(f"UserKnownHostsFile={wrong}",))
    assert "its host key is another one than before" in str(changed)
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in changed.hint
    wrong.write_text(f"@revoked {(sshd.folder / 'known_hosts').read_text()}")
    revoked = refusal(sshd, ssh_options=(f"UserKnownHostsFile={wrong}",))
    assert "its host key is marked as revoked" in str(revoked)
    stranger = refusal(sshd, identity=str(key))
    assert "did not accept any key of yours" in str(stranger)
    assert "ssh-copy-id" in stranger.hint


def test_refusals_of_the_network(sshd: Sshd) -> None:
    assert "refused the connection" in str(refusal(sshd, port=free_port()))
    assert "no such host" in str(refusal(sshd, host="no-such-host.invalid"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "did not answer in time" in str(refusal(sshd, port=port, connect_seconds=1))


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_refusals_of_the_devices_python(sshd: Sshd, tmp_path: Path) -> None:
    missing = refusal(sshd, python="no such python")
    assert "the program 'no such python' cannot be started there" in str(missing)
    assert "edgekit.toml" in missing.hint
    old = refusal(sshd, python=script(tmp_path, "echo 'edgekit: python 2.7' >&2; exit 1"))
    assert "is Python 2.7 there, and 3.8 is the oldest" in str(old)
    crash = refusal(sshd, python=script(tmp_path, "echo no memory >&2; exit 9"))
    assert "the program there ended before it answered (exit code 9: no memory)" in str(crash)
    chatty = refusal(sshd, python=script(tmp_path, 'echo Welcome; exec python3 "$@"'))
    assert "printed 'Welcome' at log-in" in str(chatty)
    liar = refusal(sshd, python=script(tmp_path, """echo 'edgekit-pipe/1 {"folder": "/etc"}'"""))
    assert "answers with what is no folder" in str(liar)


def test_a_device_that_starts_no_python_in_time(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_ALIVE_SECONDS", 0)
    slow = script(tmp_path, "sleep 3")
    assert "did not answer within 1 s" in str(refusal(sshd, python=slow, connect_seconds=1))


def test_refusals_of_the_devices_disk(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    readonly = refusal(sshd, dir=str(tmp_path / "file" / "x"))
    assert f"'{tmp_path}/file/x' cannot be written there: Not a directory" in str(readonly)
    data = tmp_path / "data"
    data.write_bytes(bytes(5_000_000))
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nclass S: f_bavail, f_frsize = 700, 1000\nos.statvfs = lambda _: S"
    )
    full = script(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    base = tmp_path / "base"
    with (
        pytest.raises(UnmeasuredError, match=r"the disk is full: 5.00 MB needed, 700.0 kB free"),
        connected(sshd, python=full, dir=str(base)) as link,
    ):
        link.put({"data": data})
    assert is_soon(lambda: not list(base.iterdir()))


def test_files_of_this_machine_that_cannot_be_sent(sshd: Sshd, tmp_path: Path) -> None:
    with connected(sshd) as link, pytest.raises(UsageError, match="nothing: No such file"):
        link.put({"data": tmp_path / "nothing"})
    (tmp_path / "data").touch()
    with connected(sshd) as link, pytest.raises(UnmeasuredError, match="not a name for a file"):
        link.put({"../data": tmp_path / "data"})
    assert not list((sshd.home / ".edgekit").iterdir())


def test_the_oldest_python_that_a_device_may_have(sshd: Sshd, tmp_path: Path) -> None:
    named = shutil.which("python3.8") or "python3.8"
    own = Path("~/.pyenv/versions").expanduser().glob("3.8.*/bin/python3.8")
    for program in (*map(str, own), named):
        with contextlib.suppress(OSError):
            if subprocess.run([program, "-V"], capture_output=True).returncode == 0:
                break
    else:
        pytest.skip("Python 3.8 is not installed")
    with connected(sshd, python=program) as link:
        process, _ = started(link, tmp_path)
        shut(process)


def test_what_a_device_left_behind_goes_after_a_week(sshd: Sshd) -> None:
    base = sshd.home / "weeks"
    old, young, other = (base / name for name in ("run-aaaaaaaa", "run-bbbbbbbb", "mine"))
    for folder in (old, young, other):
        folder.mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    with connected(sshd, dir="~/weeks"):
        assert not old.exists()
        assert young.exists()
    assert sorted(base.iterdir()) == [other, young]
