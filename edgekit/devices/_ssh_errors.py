"""What ssh prints when it fails, as one sentence with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.devices._pipe_errors import last_line
from edgekit.errors import EdgekitError, UnmeasuredError

__all__ = ["Host", "explain"]


@dataclass(frozen=True)
class Host:
    """Who is called, and the words with which a user calls it."""

    host: str
    user: str
    port: int | None
    options: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The device in messages and reports."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.user}@{host}{port}" if self.user else f"{host}{port}"

    def command(self, program: str) -> str:
        """What a user types: `ssh -p 2222 pi@board`."""
        more = [word for option in self.options for word in ("-o", option)]
        port = ["-p", str(self.port)] if self.port else []
        name = f"{self.user}@{self.host}" if self.user else self.host
        return " ".join((program, *more, *port, name))

    @property
    def known_as(self) -> str:
        """Its name in a file of known hosts."""
        return f"[{self.host}]:{self.port}" if self.port not in (None, 22) else self.host


_OF_A_RUNTIME = re.compile(r"^(?:INFO|WARNING|[IWE]\d{4}\b).*\n?", re.MULTILINE)
"""What a model's runtime prints while it works, which is none of ssh's words."""

_NOT_ON = "look whether it is switched on and in the same network"

_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"IDENTIFICATION HAS CHANGED",
        "its host key is another one than before: it was installed anew, or something else answers "
        "at its address; nothing was sent to it",
        "only if you know why: ssh-keygen -R '{known_as}', then {ssh}",
    ),
    (
        r"REVOKED HOST KEY|marked as revoked",
        "its host key is marked as revoked; nothing was sent to it",
        "ask whoever keeps the list of host keys",
    ),
    (
        r"Host key verification failed|host key is known for",
        "its host key is not known yet, so it cannot be told from another machine",
        "log in once and compare the fingerprint: {ssh} (or: {scan} >> "
        "~/.ssh/known_hosts, in a network that you trust)",
    ),
    (
        r"Could not resolve hostname",
        "no such host in this network's names",
        "look at the spelling, or use the IP address; `ping {host}` must find it",
    ),
    (
        r"[Cc]onnect\w* .*: Connection refused",
        "refused the connection",
        "is ssh switched on there, and on this port? (Raspberry Pi OS: sudo raspi-config, "
        "Interface Options, SSH)",
    ),
    (
        r"timed out during banner|: (Connection|Operation) timed out",
        "did not answer in time",
        _NOT_ON + "; a slow one needs more: connect-seconds",
    ),
    (r"No route to host|is unreachable", "cannot be reached from here", _NOT_ON),
    (
        r"Permission denied|Too many authentication failures|no supported authentication",
        "did not accept any key of yours",
        "put your key there once: {copy}; then `{ssh}` must not ask for a password (a key with "
        "a passphrase must be in the agent: ssh-add)",
    ),
    (
        r"Unable to negotiate",
        "shares no algorithm with this machine's ssh",
        "update its ssh server, or allow the old algorithm in your ~/.ssh/config",
    ),
    (
        r"Timeout, server .* not responding|Connection reset|Broken pipe"
        r"|closed by (remote host|UNKNOWN)|Connection closed|closed by .* port",
        "dropped the connection {during}; there is no result",
        "look at its power supply and its network, and try again",
    ),
)
# In this order: "Connection closed by ADDRESS" is the last line of other stories too.


def explain(host: Host, code: int, stderr: str, *, during: str = "") -> EdgekitError | None:
    """The error for exit code 255, which is ssh's own; None for any other."""
    if code != 255:
        return None
    blanks = {
        "ssh": host.command("ssh"),
        "copy": host.command("ssh-copy-id"),
        "scan": Host(host.host, "", host.port).command("ssh-keyscan"),
        "known_as": host.known_as,
        "host": host.host,
        "during": during or "in the middle",
    }
    # One that goes through the shared connection prints nothing when that breaks.
    stderr = _OF_A_RUNTIME.sub("", stderr)
    said = last_line(stderr) or "Connection closed"
    for pattern, message, hint in _KNOWN:
        if re.search(pattern, stderr or said):
            text = f"{host.label}: {message.format(**blanks)}"
            return UnmeasuredError(text, hint=hint.format(**blanks))
    return UnmeasuredError(
        f"{host.label}: ssh failed: {said}", hint=f"`{blanks['ssh']}` must work without a question"
    )
