"""An Arm Ethos-U NPU: Vela compiles for it here; its reference kernels run here."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.core.device import Link, Progress
from edgekit.errors import UnmeasuredError, UsageError, did_you_mean
from edgekit.units import Bytes

if TYPE_CHECKING:
    from edgekit.devices import environment
    from edgekit.devices._vela_compile import Compiler
    from edgekit.frameworks.isolated import Requirements

__all__ = [
    "FIGURES",
    "Options",
    "connect",
    "describe",
    "install",
    "products",
    "unavailable",
    "untimed",
]

FIGURES = True

VERSION = "5.2.0"
_PINS = (f"ethos-u-vela=={VERSION}", "numpy==2.4.6", "flatbuffers==25.12.19")
_PYTHONS = ("3.11", "3.12", "3.13")
_DOWNLOAD_MB = 25
_OWN_CONFIG = "Arm/vela.ini"
_CONFIG_BYTES = 1_000_000

Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]


@dataclass(frozen=True)
class Options:
    """What Vela compiles for: the NPU with its MACs a cycle, and the system around it.

    `system_config` (clock and memories) and `memory_mode` are sections of `config`, an .ini file of
    Vela's, by default the one that it brings along. `optimise` prefers speed or little SRAM;
    `arena_cache_size` is the SRAM that it may take where it prefers speed.
    """

    accelerator: Accelerator
    system_config: str
    memory_mode: str
    config: str = ""
    optimise: Literal["Performance", "Size"] = "Performance"
    arena_cache_size: Bytes | None = None

    def __post_init__(self) -> None:
        for name in ("system_config", "memory_mode"):
            if not re.fullmatch(r"\w+", getattr(self, name)):
                raise ValueError(f"{name} must be a section's name, not '{getattr(self, name)}'")
        if self.arena_cache_size is not None and not 1 <= self.arena_cache_size <= 2**32:
            raise ValueError("arena_cache_size must be from 1 byte to 4 GiB")

    @property
    def npu(self) -> str:
        """The NPU as reports call it: 'Ethos-U55'."""
        return f"Ethos-{self.accelerator.split('-')[1].upper()}"


def untimed(options: Options) -> str:
    """Nothing is timed: what there is are Vela's estimates."""
    return "estimated by Vela: the NPU is not executed"


def unavailable(options: Options) -> str:
    """Says whether Vela is there, or what makes it, and what is wrong with its configuration."""
    from edgekit.devices import environment

    problem = _config_problem(options) if options.config else ""
    return problem or environment.unavailable(_environment()) or _section_problem(options)


def install(options: Options, progress: Progress) -> None:
    """Makes Vela's environment where it is not there yet.

    Raises:
        UsageError: no Python for it, no network, or no room.
    """
    from edgekit.devices import environment

    environment.install(_environment(), progress)


def connect(options: Options) -> Link:
    """Opens a folder beside which a server compiles each model that it opens.

    Raises:
        UnmeasuredError: Vela is not there, or its configuration is wrong.
    """
    from edgekit.devices._vela_link import ServerLink

    if problem := unavailable(options):
        raise UnmeasuredError(f"vela: {problem}")
    asked = dataclasses.asdict(options)
    if options.config:
        asked["config"] = str(_config(options))
    return ServerLink("edgekit.devices._vela_serve", json.dumps(asked), device="Vela's server")


def describe(options: Options) -> str:
    """What compiled, for what, and that nothing was executed there."""
    system = f"{options.system_config}, {options.memory_mode}"
    return f"compiled by Vela {VERSION} for {options.accelerator} ({system}); not executed"


def products(options: Options, path: Path) -> Mapping[str, Path]:
    """What Vela made of a model, by the name that it has beside it; nothing where it took no op.

    Raises:
        UnmeasuredError: Vela is not there, or does not compile the model.
    """
    from edgekit.devices._vela_compile import compile_model

    if problem := unavailable(options):
        raise UnmeasuredError(f"vela: {problem}")
    made = compile_model(path, compiler(options))
    if not made.delegates:
        return {}
    return {
        "model_vela.tflite": made.model,
        "vela-per-layer.csv": made.layers,
        "vela-summary.csv": made.table,
    }


def compiler(options: Options) -> Compiler:
    """The command that compiles, and what its result depends on.

    Raises:
        UnmeasuredError: Vela's environment is not there, or its configuration cannot be read.
    """
    from edgekit.devices._vela_compile import Compiler
    from edgekit.frameworks import isolated
    from edgekit.frameworks.files import sha256

    found = isolated.present(_requirements())
    if found is None:
        raise UnmeasuredError(f"vela: {unavailable(options)}")
    try:
        config = sha256(_config(options)) if options.config else ""
    except UsageError as error:
        raise UnmeasuredError(f"config {error.message}", hint=error.hint) from None
    return Compiler(
        command=(str(found.python), "-I", "-B", "-X", "utf8", "-m", "ethosu.vela"),
        arguments=_arguments(options),
        version=VERSION,
        config=config,
    )


def _arguments(options: Options) -> tuple[str, ...]:
    words = ["--accelerator-config", options.accelerator, "--optimise", options.optimise]
    words += ["--config", str(_config(options)) if options.config else _OWN_CONFIG]
    words += ["--system-config", options.system_config, "--memory-mode", options.memory_mode]
    if options.arena_cache_size is not None:
        words += ["--arena-cache-size", str(options.arena_cache_size)]
    return tuple(words)


def _config(options: Options) -> Path:
    return Path(options.config).expanduser().absolute()


def _config_problem(options: Options) -> str:
    path, fix = _config(options), "name an .ini file of Vela's, or leave the key config out"
    try:
        if not path.is_file():
            return f"config '{options.config}': no such file; {fix}"
        if path.stat().st_size > _CONFIG_BYTES:
            return f"config '{options.config}': is larger than 1 MB, so no .ini of Vela's; {fix}"
    except OSError as error:
        return f"config '{options.config}': cannot be read: {error.strerror or error}; {fix}"
    return ""


def _section_problem(options: Options) -> str:
    """Whether the .ini has both sections; '' too where it is not where it always was."""
    text = _config_text(options)
    for key, kind in (("system_config", "System_Config"), ("memory_mode", "Memory_Mode")):
        known = re.findall(rf"^\[{kind}\.(\w+)\]", text, re.MULTILINE)
        name = getattr(options, key)
        if known and name not in known:
            by_lower = {one.lower(): one for one in known}
            hint = did_you_mean(name, by_lower)
            for lower, one in by_lower.items():
                hint = re.sub(rf"\b{lower}\b", one, hint)
            file = options.config or _OWN_CONFIG
            return f"{key} '{name}': is no {kind} of Vela's {file}; {hint}"
    return ""


def _config_text(options: Options) -> str:
    from edgekit.frameworks import isolated

    path = _config(options)
    if not options.config:
        found = isolated.present(_requirements())
        places = f"lib/python*/site-packages/ethosu/config_files/{_OWN_CONFIG}"
        path = next(found.folder.glob(places), path) if found else path
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # Vela itself says what it cannot read.
        return ""


def _environment() -> environment.Options:
    from edgekit.devices import environment

    return environment.Options(_PINS, _PYTHONS, "ethosu.vela", _DOWNLOAD_MB)


def _requirements() -> Requirements:
    from edgekit.frameworks.isolated import Requirements

    return Requirements(
        name="ethos-u-vela",
        pins=_PINS,
        pythons=_PYTHONS,
        module="ethosu.vela",
        download_mb=_DOWNLOAD_MB,
        needed_for=f"ethos-u-vela {VERSION}",
    )
