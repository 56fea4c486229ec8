"""A real ssh server on this machine, with keys, users file and home folder of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Sshd", "free_port", "running_sshd"]

_PROGRAM = "/usr/sbin/sshd"
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME={folder}/home
{extra}
"""


@dataclass(frozen=True)
class Sshd:
    """How to reach it: `options(...)` are keys of `edgekit.devices.ssh.Options`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """The home folder of whoever logs in."""
        return self.folder / "home"

    def options(self, **more: object) -> dict[str, object]:
        """The options with which this server lets edgekit in."""
        known = (f"UserKnownHostsFile={self.folder}/known_hosts",)
        own = {"host": "127.0.0.1", "port": self.port, "user": getpass.getuser()}
        return {**own, "identity": f"{self.folder}/user_key", "ssh_options": known, **more}

    def table(self, name: str, python: str = sys.executable) -> str:
        """The same as a device of `edgekit.toml`."""
        return (
            f'[devices.{name}]\non = "ssh://{getpass.getuser()}@127.0.0.1:{self.port}"\n'
            f'python = "{python}"\nidentity = "{self.folder}/user_key"\n'
            f'ssh-options = ["UserKnownHostsFile={self.folder}/known_hosts"]\n'
        )

    def sessions(self) -> list[int]:
        """The processes of open connections."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in text.split()]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_sshd(folder: Path, extra: str = "") -> Iterator[Sshd]:
    """Starts it; skips the test with the reason where this machine cannot run one."""
    if not Path(_PROGRAM).exists() or shutil.which("ssh") is None:
        pytest.skip(f"{_PROGRAM} or ssh is not installed (Debian: openssh-server, openssh-client)")
    if os.getuid() == 0:  # it insists on this folder then
        try:
            Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
        except OSError as error:
            pytest.skip(f"sshd needs /run/sshd: {error}")
    (folder / "home").mkdir()
    for name in ("host_key", "user_key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    port = free_port()
    known = f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}"
    (folder / "known_hosts").write_text(known)
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder, extra=extra))
    with (folder / "log").open("wb") as log:
        command = [_PROGRAM, "-D", "-e", "-f", str(folder / "config")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
    try:
        _wait_for(process, port, folder / "log")
        yield Sshd(folder, port, process)
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {log.read_text(errors='replace').strip()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("sshd does not listen")
