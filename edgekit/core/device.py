"""The seam to a device: put files there, start its Python, talk to it over pipes.

What runs there is `edgekit/on_device/run.py`, the same file that a bundle carries; `serve.py`
answers requests on its stdin (the protocol stands at the head of that file).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import subprocess

__all__ = ["Delegate", "Device", "DeviceSpec", "Link", "Progress"]

Progress = Callable[[str, int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Delegate:
    """A library that takes ops from the CPU, with its options."""

    library: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class DeviceSpec:
    """Which device: a name of the family `devices`, its options, and what reports call it.

    `runtimes` are the Python modules that may run a model there, the best first; `delegates` are
    tried there in turn before the CPU, and with `strict` the first one that fails is an error.
    """

    via: str
    options: Any
    label: str
    runtimes: tuple[str, ...] = ()
    delegates: tuple[Delegate, ...] = ()
    strict: bool = False


class Link(Protocol):
    """An open way to a device. It is closed by whoever opened it, also after an error.

    It may also have `ended(code, stderr, *, during) -> EdgekitError`: the sentence for a process
    that ended too early, by its exit code and what it printed.
    """

    def put(self, files: Mapping[str, Path]) -> None:
        """Copies files into a folder of this link's own, under names relative to it (`a/b`).

        Raises:
            UnmeasuredError: the device is full, read-only, or gone; nothing is measured then.
        """

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts the device's Python with `words` (`["serve.py"]`) in that folder.

        stdin, stdout and stderr are pipes and carry bytes unchanged. The process on the device ends
        when its stdin does, so that nothing goes on there after a kill here.
        """

    def close(self) -> None:
        """Ends what runs there, and removes what was put there."""


class Device(Protocol):
    """What a module in `edgekit/devices/` has; `Options` is a frozen dataclass: keys of `[device]`.

    A way that is named by an address also has `parse(address) -> Options`: what `--on
    SCHEME:ADDRESS` means, `SCHEMES` being the schemes that it answers to and `FORM` how they look.
    `IS_HERE = True` says that it is this very machine, whose times compare. `FIGURES = True` says
    that what answers there knows figures of its own (`core.measurement.Figure`): a compiler's
    estimates, the bytes of an arena. Where a compiler makes further files of a model, to be shipped
    with it, `products(options, path) -> Mapping[str, Path]` are these by name.
    """

    Options: type

    def untimed(self, options: Any) -> str:
        """Why no time and no memory of there counts ('emulated: no timing'); '' where they do."""

    def unavailable(self, options: Any) -> str:
        """'' where the device can be used now, else why not, and what to do about it."""

    def install(self, options: Any, progress: Progress) -> None:
        """Makes what is missing on this machine, as far as a program can.

        Raises:
            UsageError: it cannot be made here; says what the user must install.
        """

    def connect(self, options: Any) -> Link:
        """Opens a way there.

        Raises:
            UnmeasuredError: the device cannot be reached, or does not answer as it should.
        """

    def describe(self, options: Any) -> str:
        """What executes, for people: 'Cortex-A76 emulated by qemu-aarch64 7.2.11'."""
