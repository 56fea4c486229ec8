"""Packages of Debian for another processor, by a private state of apt: the host's is not touched.

Where the packages come from is what the host's own apt is set up for.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgekit.child import said_by
from edgekit.devices._sysroot_run import Runner

__all__ = ["VARIABLE", "Suite", "download", "download_alone", "extract", "problem"]

VARIABLE = "EDGEKIT_DEBIAN"
"""The environment variable that names an archive of Debian, for systems that use another one."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(SIGNED_BY)"
_URI = re.compile(r"(https?|file|copy)://?[^\s\[\]|]+")
_LIMIT_SECONDS = 30

# What the host's configuration has apt do beside its work (clear a cache, tell a desktop) is not
# wanted; where it looks for proxies and passwords is.
_CONFIGURATION = """
#clear APT::Update;
#clear DPkg;
#clear APT::Architectures;
APT::Update::Error-Mode "any";
APT::Keep-Downloaded-Packages "true";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Default-Release "";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""


@dataclass(frozen=True)
class Suite:
    """A release of Debian, for one architecture."""

    name: str
    architecture: str


@dataclass(frozen=True)
class _Archive:
    uri: str
    signed_by: str = ""


def problem() -> str:
    """Why no packages of Debian can be had here; '' where they can."""
    for program, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(program) is None:
            return f"{program} is not there (a system with {package}, Debian or Ubuntu, is needed)"
    named = os.environ.get(VARIABLE)
    if named and not _URI.fullmatch(named):
        return f"{VARIABLE} '{named}' is not the address of an archive (http://.../debian)"
    if _archive() is None:
        return (
            f"apt is not set up for Debian here: name an archive of Debian with {VARIABLE} "
            "(http://.../debian) and install its keys: apt install debian-archive-keyring"
        )
    return ""


def download(suite: Suite, packages: tuple[str, ...], folder: Path, run: Runner) -> list[Path]:
    """Downloads packages with all that they need.

    Raises:
        UsageError: the archive cannot be reached, or has no such package.
    """
    archive = _archive()
    assert archive is not None, "problem() was asked before"
    options = _options(suite, archive, folder)
    run(["apt-get", *options, "-qq", "update"])
    run(["apt-get", *options, "-qq", "-y", "--download-only", "install", *packages])
    return sorted((folder / "archives").glob("*.deb"))


def download_alone(suite: Suite, package: str, folder: Path, run: Runner) -> list[Path]:
    """Downloads one package without what it needs, into the folder in which `run` runs.

    Raises:
        UsageError: the archive cannot be reached, or has no such package.
    """
    archive = _archive()
    assert archive is not None, "problem() was asked before"
    options = _options(suite, archive, folder / "apt")
    run(["apt-get", *options, "-qq", "update"])
    run(["apt-get", *options, "-qq", "download", package])
    return sorted(folder.glob(f"{package}_*.deb"))


def extract(package: Path, root: Path, run: Runner) -> None:
    """Unpacks one package; none of its scripts is run.

    Raises:
        UsageError: the disk is full.
    """
    run(["dpkg-deb", "-x", str(package), str(root)])


def _options(suite: Suite, archive: _Archive, folder: Path) -> list[str]:
    """Everything that apt would write or read of its own is in `folder`."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    signed = f"[signed-by={archive.signed_by}] " if archive.signed_by else ""
    sources = f"deb {signed}{archive.uri} {suite.name} main\n"
    (folder / "sources.list").write_text(sources, encoding="utf-8")
    (folder / "apt.conf").write_text(_CONFIGURATION, encoding="utf-8")
    own = {
        "APT::Architecture": suite.architecture,
        "APT::Architectures::": suite.architecture,
        "Dir::Etc::sourcelist": str(folder / "sources.list"),
        "Dir::State::lists": str(folder / "lists"),
        "Dir::State::status": str(folder / "status"),
        "Dir::State::extended_states": str(folder / "extended_states"),
        "Dir::Cache::archives": str(folder / "archives"),
        "Dir::Log": str(folder),
    }
    options = [word for key, value in own.items() for word in ("-o", f"{key}={value}")]
    return ["-c", str(folder / "apt.conf"), *options]


def _archive() -> _Archive | None:
    """The archive that the user names, else the one of Debian that the host's apt uses."""
    named = os.environ.get(VARIABLE)
    if named:
        return _Archive(named, str(_KEYRING) if _KEYRING.is_file() else "")
    for line in _targets().splitlines():
        uri, origin, signed_by = [*line.split("|"), "", "", ""][:3]
        if origin == "Debian" and _URI.fullmatch(uri) and not uri.rstrip("/").endswith("-security"):
            return _Archive(uri, signed_by if signed_by.startswith("/") else "")
    return None


def _targets() -> str:
    command = ["apt-get", "indextargets", "--format", _FORMAT]
    return said_by(command, limit_seconds=_LIMIT_SECONDS)
