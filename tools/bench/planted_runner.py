"""LiteRT with a planted slowdown: burns a known share of each inference's own time on top.

`gate_power.py` makes it known to the measuring processes as a plug-in; edgekit ships nothing of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.artifact import Signature
from edgekit.runners import litert

__all__ = ["FORMATS", "FRAMEWORKS", "MODULES", "PREDICTS", "UNREAL", "Options", "open"]

FORMATS, FRAMEWORKS, MODULES = litert.FORMATS, litert.FRAMEWORKS, litert.MODULES
PREDICTS: tuple[str, ...] = ()
UNREAL = ""


@dataclass(frozen=True)
class Options(litert.Options):
    """`share` of 0.05 makes a model 5 % slower than one with 0.

    Both burn a fifth of the model's own time besides: so both wait for the clock in the same way.
    """

    share: float = 0.0


def open(path: Path, signature: Signature, options: object) -> litert.LitertSession:  # noqa: A001 (what core.runner.Runner calls it)
    """A session of LiteRT whose `invoke` takes longer; both sides of a pair are wrapped alike."""
    assert isinstance(options, Options), options
    plain = litert.Options(threads=options.threads, kernels=options.kernels)
    session = litert.open(path, signature, plain)
    inner, clock, longer = session.invoke, time.perf_counter_ns, 1.2 * (1 + options.share)

    def invoke() -> None:
        start = clock()
        inner()
        end = start + (clock() - start) * longer
        while clock() < end:
            pass

    session.invoke = invoke
    return session
