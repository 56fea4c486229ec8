"""Pack a model with all that runs and proves it on a device"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import _options as options
from edgekit.units import format_bytes

if TYPE_CHECKING:
    from edgekit.core.bundle import Manifest
    from edgekit.engine.delegation import Delegation

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("bundle")
@options.model
@click.option("--target", metavar="T", help="A target's name or TOML file.")
@click.option("--out", metavar="FILE.ekb", type=_PATH, help="The bundle to write.")
@click.option("--to-folder", metavar="DIR", type=_PATH, help="Where to unpack the bundle.")
@options.data_options(required=False)
@click.option("--labels", metavar="FILE", type=_PATH, help="Names of the classes, one a line.")
@click.option(
    "--preprocess", metavar="FILE.toml", type=_PATH, help="The front end; keys of preprocess.json."
)
@click.option(
    "--golden",
    metavar="N",
    type=click.IntRange(1, 1000),
    help="Golden samples; 8, or fewer of a slow model, where not given.",
)
@options.inputs
@options.seed
@options.threads
@click.option("--on", metavar="DEVICE", help="Let the bundle prove itself there: ssh://, adb:, ...")
@options.delegates
@options.as_json
@options.force
def command(
    model: str,
    target: str | None,
    out: Path | None,
    to_folder: Path | None,
    data: str | None,
    data_options: str,
    task: str | None,
    output: str | None,
    labels: Path | None,
    preprocess: Path | None,
    golden: int | None,
    inputs: tuple[str, ...],
    seed: int,
    threads: int | None,
    on: str | None,
    libraries: tuple[str, ...],
    strict: bool,
    as_json: bool,
    force: bool,
) -> int:
    """Packs MODEL (a file, or a folder that compress wrote) into a bundle, --out FILE.ekb.

    Where MODEL is a bundle, --to-folder checks and unpacks it. Run there: python3 run.py selftest.
    With --on that is done on a device; the exit code is then what it says.
    """
    from edgekit.engine.bundles import Extras, is_bundle

    delegation = options.delegation(libraries, strict=strict)
    if is_bundle(Path(model)):
        given = {
            "--target": target,
            "--out": out,
            "--data": data,
            "--data-options": data_options,
            "--task": task,
            "--output": output,
            "--labels": labels,
            "--preprocess": preprocess,
            "--golden": golden,
            "--input": inputs,
            "--threads": threads,
        }
        if on is None:
            given |= {"--delegate": libraries, "--strict": strict}
        return _have(
            Path(model), to_folder, on, given, delegation=delegation, as_json=as_json, force=force
        )
    if out is None:
        raise click.UsageError("--out FILE.ekb is missing")
    from edgekit.engine.bundling import bundle, unpack

    request = options.data_request(data, data_options, task, output) if data else None
    if request is None and (data_options or output):
        options.data_request(data, data_options, task, output)
    made = bundle(
        model,
        out=out,
        target=target,
        data=request,
        extras=Extras(labels, preprocess, golden, task),
        inputs=inputs,
        threads=threads,
        delegation=delegation if on is None else dataclasses.replace(delegation, strict=False),
        seed=seed,
        force=force,
    )
    if to_folder is not None:
        unpack(out, to_folder, force=force)
    proof = _proof(out, on, delegation)
    if as_json:
        facts = {"sha256": made.sha256, "size_bytes": made.size_bytes, **proof}
        _print_json(out, made.manifest, **facts)
    else:
        click.echo(f"wrote {out}: {format_bytes(made.size_bytes)}, SHA-256 {made.sha256[:16]}")
        _print_facts(made.manifest, to_folder)
        _print_proof(proof)
    return _code(proof)


def _have(
    bundle: Path,
    folder: Path | None,
    on: str | None,
    given: dict[str, Any],
    *,
    delegation: Delegation,
    as_json: bool,
    force: bool,
) -> int:
    """What can be done with a bundle that is there: unpack it, or let it prove itself."""
    from edgekit.engine.bundles import open_bundle
    from edgekit.engine.bundling import unpack

    if folder is None and on is None:
        raise click.UsageError(
            f"'{bundle}' is a bundle: --to-folder DIR unpacks it, --on DEVICE tests it there"
        )
    for name, value in given.items():
        if value not in (None, "", (), False):
            raise click.UsageError(f"{name} changes nothing in a bundle that is made already")
    manifest = open_bundle(bundle).manifest
    if folder is not None:
        unpack(bundle, folder, force=force)
    proof = _proof(bundle, on, delegation)
    if as_json:
        _print_json(bundle, manifest, folder=str(folder) if folder else None, **proof)
    else:
        _print_facts(manifest, folder)
        _print_proof(proof)
    return _code(proof)


def _proof(bundle: Path, on: str | None, delegation: Delegation) -> dict[str, Any]:
    from edgekit.engine.bundling import prove_on

    return {"proof": prove_on(bundle, on, delegation)} if on is not None else {}


def _code(proof: dict[str, Any]) -> int:
    return int(proof["proof"]["exit"]) if proof else 0


def _print_proof(proof: dict[str, Any]) -> None:
    """The checks that the bundle made on the device, and how they ended."""
    from edgekit.text import clean

    if not proof:
        return
    found = proof["proof"]
    lines = [f"selftest on {found['device']}: {'ok' if found['exit'] == 0 else 'FAILED'}"]
    lines += [
        f"  {'ok' if check['ok'] else 'FAILED':<7} {check['what']}: {check['detail']}"
        for check in found["checks"]
    ]
    lines += [
        f"  fell back {tried['what']}: {tried['reason']}"
        for tried in found.get("attempts", ())
        if not tried["ok"]
    ]
    lines += [f"  hint: {found['hint']}"] if found.get("hint") else []
    click.echo("\n".join(clean(line, most=400) for line in lines))


def _print_json(bundle: Path, manifest: Manifest, **more: Any) -> None:
    from edgekit.core.strict_json import plain

    options.print_json({"path": str(bundle), **more, "manifest": plain(manifest)})


def _print_facts(manifest: Manifest, folder: Path | None) -> None:
    from edgekit.text import clean

    golden = manifest.golden
    lines = [
        f"  {manifest.name} for {manifest.target.name}, {manifest.model.format}, "
        f"{format_bytes(manifest.model.size_bytes)}",
        f"  golden: {golden.count} samples, {golden.source}; {golden.kernels} kernels, "
        f"{golden.made_with}",
    ]
    if folder is not None:
        lines.append(f"unpacked to {folder}: python3 {folder / 'run.py'} selftest")
    click.echo("\n".join(clean(line, most=400) for line in lines))
