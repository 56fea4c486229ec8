"""The processors that qemu-user imitates here, and what Linux says of each.

Runtimes choose their kernels by what the kernel says of the processor. Under qemu-user that is the
host's /proc/cpuinfo and /sys (on which cpuinfo, the library, crashes), and qemu's default processor
`max` gives wrong int8 results (SME, QEMU 7.2): so that a processor is always named, and files that
describe just this one lie where qemu looks first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CPUS", "Cpu", "CpuName", "Machine"]

Machine = Literal["aarch64", "armv7l"]
CpuName = Literal["cortex-a76", "cortex-a72", "cortex-a53", "cortex-a15", "cortex-a7"]

_CORES = 4
_ARM = "0x41"


@dataclass(frozen=True)
class Cpu:
    """A processor of four equal cores: the fields of /proc/cpuinfo, as real boards show them."""

    title: str
    machine: Machine
    part: str
    variant: str
    revision: int
    features: str

    @property
    def files(self) -> dict[str, str]:
        """The files of /proc and /sys that describe it, by path without the leading slash."""
        cores = f"0-{_CORES - 1}\n"
        folder = "sys/devices/system/cpu"
        lists = {f"{folder}/{name}": cores for name in ("possible", "present", "online")}
        return {"proc/cpuinfo": "".join(map(self._core, range(_CORES))), **lists}

    def _core(self, number: int) -> str:
        is_64 = self.machine == "aarch64"
        rows = {
            "processor": str(number),
            **({} if is_64 else {"model name": f"ARMv7 Processor rev {self.revision} (v7l)"}),
            "BogoMIPS": "108.00",
            "Features": self.features,
            "CPU implementer": _ARM,
            "CPU architecture": "8" if is_64 else "7",
            "CPU variant": self.variant,
            "CPU part": self.part,
            "CPU revision": str(self.revision),
        }
        return "".join(f"{key}\t: {value}\n" for key, value in rows.items()) + "\n"


_V8 = "fp asimd evtstrm crc32 cpuid"
_V82 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
_V7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"

CPUS: dict[CpuName, Cpu] = {
    "cortex-a76": Cpu("Cortex-A76", "aarch64", "0xd0b", "0x4", 1, _V82),
    "cortex-a72": Cpu("Cortex-A72", "aarch64", "0xd08", "0x0", 3, _V8),
    "cortex-a53": Cpu("Cortex-A53", "aarch64", "0xd03", "0x0", 4, _V8),
    "cortex-a15": Cpu("Cortex-A15", "armv7l", "0xc0f", "0x2", 1, _V7),
    "cortex-a7": Cpu("Cortex-A7", "armv7l", "0xc07", "0x0", 5, _V7),
}
