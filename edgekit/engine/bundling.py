"""Makes a bundle of what the user names: a model file, a folder of compress's, or a bundle."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.bundle import SUFFIX, Manifest
from edgekit.core.device import DeviceSpec
from edgekit.core.on import parse_on
from edgekit.engine import files
from edgekit.engine.bundle_metrics import ReportFacts, facts_in
from edgekit.engine.bundles import Bundle, Extras, is_bundle, open_bundle, write_bundle
from edgekit.engine.compress import DataRequest, open_for
from edgekit.engine.delegation import NO_DELEGATION, Delegation
from edgekit.engine.device_session import Serving, delegates_of
from edgekit.engine.fallbacks import check_strictly, delegated
from edgekit.engine.models import zoo_name
from edgekit.engine.open_model import open_model
from edgekit.engine.targets import host, target_for
from edgekit.engine.validate import model_in
from edgekit.errors import UsageError
from edgekit.frameworks.files import sha256

__all__ = ["Extras", "Made", "bundle", "prove_on", "selftest_on", "unpack"]

_THERE = "bundle"
_BESIDE = frozenset({"__pycache__"})
"""What running a bundle leaves in its folder; with it the folder still is a bundle's."""


@dataclass(frozen=True)
class Made:
    """A bundle that was written: its file, and what its manifest says."""

    path: Path
    manifest: Manifest
    sha256: str
    size_bytes: int


def bundle(
    model: str,
    *,
    out: Path,
    target: str | None = None,
    data: DataRequest | None = None,
    extras: Extras | None = None,
    inputs: Sequence[str] = (),
    threads: int | None = None,
    delegation: Delegation = NO_DELEGATION,
    seed: int = 0,
    force: bool = False,
) -> Made:
    """Writes the bundle of a model file, or of the model in a folder that compress wrote.

    `delegation` is what is tried on the device; with `strict` it is tried here too, at once.
    Of such a folder the report gives the name, the task, the target where none is named, and what
    was measured, as long as it is of this very model.

    Raises:
        UsageError: the model, the data or a file of the user's is wrong; nothing was written.
    """
    _check_model(model, out)
    given = extras or Extras()
    facts = facts_in(Path(model))
    source = open_model(model_in(model), inputs)
    if facts is not None and facts.metrics.digest != source.digest:
        facts = None
    device = target_for(source, target or (facts.target if facts else None), threads=threads)
    device = delegated(device, delegation, to_device=not delegation.strict)
    check_strictly(source, device)
    source, opened = open_for(source, data, seed=seed)
    with (
        files.new_file(out, what="--out", force=force) as temporary,
        files.disk_errors("--out", out),
    ):
        manifest = write_bundle(
            source,
            device,
            temporary,
            data=opened,
            seed=seed,
            extras=_with_report(given, facts),
            metrics=facts.metrics if facts else None,
        )
        digest, size = sha256(temporary), temporary.stat().st_size
    return Made(out, manifest, digest, size)


def unpack(path: Path, folder: Path, *, force: bool = False) -> Manifest:
    """Checks a bundle and writes its files into a new folder.

    Raises:
        UsageError: the bundle is damaged, or the folder exists and is not one of a bundle.
    """
    opened = open_bundle(path)
    held = frozenset(item.name for item in opened.folder.iterdir())
    old = _replaceable(folder)
    with (
        files.new_folder(
            folder, what="--to-folder", replaces=held | old | _BESIDE, force=force
        ) as temporary,
        files.disk_errors("--to-folder", folder),
    ):
        shutil.copytree(opened.folder, temporary, dirs_exist_ok=True)
    return opened.manifest


def _replaceable(folder: Path) -> frozenset[str]:
    """The top names of an older bundle that was unpacked there, whose model may be another's."""
    try:
        text = (folder / "SHA256SUMS").read_text(encoding="utf-8")[:65_536]
    except (OSError, ValueError):
        return frozenset()
    names = (line[66:].split("/")[0] for line in text.splitlines())
    return (
        frozenset({*names, "SHA256SUMS"}) if (folder / "manifest.json").is_file() else (frozenset())
    )


def _with_report(given: Extras, facts: ReportFacts | None) -> Extras:
    if facts is None:
        return given
    return Extras(
        given.labels,
        given.preprocess,
        given.golden,
        given.task or facts.task,
        given.name or facts.name,
    )


def _check_model(model: str, out: Path) -> None:
    if zoo_name(model) is not None:
        raise UsageError(
            f"model '{model}': a bundle needs a model that is trained and converted",
            hint=f"edgekit compress {model} --recipe R --target T --data D --out DIR makes "
            f"DIR/model{SUFFIX}",
        )
    if is_bundle(Path(model)):
        raise UsageError(f"model '{model}' is a bundle already", hint="--to-folder DIR unpacks it")
    if out.suffix != SUFFIX:
        raise UsageError(
            f"--out '{out}': a bundle ends in {SUFFIX}", hint=f"--out {out.with_suffix(SUFFIX)}"
        )


def prove_on(path: Path, on: str, delegation: Delegation = NO_DELEGATION) -> dict[str, Any]:
    """Copies a bundle to a device, lets it prove itself there, and returns what `selftest` said.

    The delegates of `delegation` take the place of the bundle's own; with `strict` none may fail.
    Nothing of it stays on the device.

    Raises:
        UsageError: no such device, or a bundle that is damaged.
        UnmeasuredError: the device cannot be reached, or the connection was lost.
    """
    opened = open_bundle(path)
    spec = parse_on(on) or host(on)
    own = delegates_of(dataclasses.replace(spec, delegates=delegation.delegates))
    result, hello = selftest_on(spec, opened, delegates=own, strict=delegation.strict)
    return {"device": spec.label, "facts": dict(hello), **result}


def selftest_on(
    spec: DeviceSpec, opened: Bundle, **own: Any
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a bundle's own run.py finds on a device, and what the device says of itself."""
    serving = Serving(spec, {f"{_THERE}/{name}": path for name, path in opened.files().items()})
    try:
        answer, _ = serving.ask("selftest", bundle=_THERE, **own)
        return answer["result"], serving.hello
    finally:
        serving.close()
