"""Writes the reference pages in docs/ from the code; `--check` says which are out of date."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from pathlib import Path

import click

from edgekit.cli._main import _edgekit
from edgekit.core import catalog
from edgekit.core.recipe import load_recipe, toml_names
from edgekit.core.schema import option_fields
from edgekit.core.target import load_target

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {name: catalog.load("formats", name).SUFFIXES[0] for name in catalog.names("formats")}
HEAD = "<!-- Written by tools/make_docs.py; `make docs` renews it. -->\n"


def main() -> None:
    """Writes or checks every generated page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        path = ROOT / "docs" / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale and check:
        sys.exit(f"out of date: {', '.join(stale)}; run `make docs` and commit the result")
    print(f"docs: {', '.join(stale) + ' written' if stale else 'up to date'}")


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    return {
        "cli.md": command_page(),
        "reference.md": reference_page(),
        "targets.md": with_section("targets.md", "targets", target_table()),
    }


def with_section(page: str, name: str, text: str) -> str:
    """A page written by hand, with the part between two of its marks made anew."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if begin not in written or end not in written:
        sys.exit(f"docs/{page}: the marks {begin.strip()} and {end} are not there")
    before, _, rest = written.partition(begin)
    return f"{before}{begin}{text}{end}{rest.partition(end)[2]}"


def target_table() -> str:
    """What every target takes, and on what it was executed, as its own file says."""
    lines = ["| target | takes | what it is | executed on |", "|---|---|---|---|"]
    for name in toml_names("targets"):
        target = load_target(name)
        takes = f"`{SUFFIXES[target.format]}`"
        if target.dtypes:
            takes += f" of {', '.join(target.dtypes)}"
        executed = "; ".join(target.executed) or "nothing yet"
        lines.append(f"| `{name}` | {takes} | {target.summary} | {executed} |")
    return "\n".join(lines) + "\n"


def command_page() -> str:
    """Every command's own help text."""
    context = click.Context(_edgekit, info_name="edgekit")
    parts = [HEAD, "# The command line\n", exit_codes()]
    for name in _edgekit.list_commands(context):
        command = _edgekit.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, terminal_width=100, max_content_width=100
        )
        parts.append(f"\n## edgekit {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts).replace("\n\n\n", "\n\n")


def exit_codes() -> str:
    """The exit codes, which are the same everywhere."""
    return (
        "| exit code | means |\n|---|---|\n"
        "| 0 | done, and within limits |\n"
        "| 1 | a limit or a promise is broken |\n"
        "| 2 | the request is wrong; nothing was run |\n"
        "| 3 | something that had to be measured could not be |\n"
        "| 130 | interrupted |\n"
    )


def reference_page() -> str:
    """What exists: recipes, targets, and every family, with the keys they take."""
    parts = [HEAD, "# What exists\n", "`edgekit list` prints the same.\n"]
    parts += ["## Recipes\n", "| recipe | what it does | steps | promise |", "|---|---|---|---|"]
    for name in toml_names("recipes"):
        recipe = load_recipe(name)
        steps = ", ".join(step.technique for step in recipe.steps) or "conversion only"
        promise = _limits(recipe.promise.limits)
        parts.append(f"| `{name}` | {recipe.summary} | {steps} | {promise} |")
    parts += ["\n## Targets\n", "| target | device | format | runner | limits |"]
    parts.append("|---|---|---|---|---|")
    for name in toml_names("targets"):
        target = load_target(name)
        limits = _limits(target.limits.limits)
        parts.append(
            f"| `{name}` | {target.summary} | {target.format} | {target.runner} | {limits} |"
        )
    for family in catalog.FAMILIES:
        parts += [f"\n## {family.capitalize()}\n", "| name | what it is |", "|---|---|"]
        parts += [f"| `{entry.name}` | {entry.summary} |" for entry in catalog.built_in(family)]
    parts.append("\n# Keys\n")
    for family, attribute in (
        ("techniques", "Parameters"),
        ("conversions", "Parameters"),
        ("runners", "Options"),
        ("datasets", "Options"),
    ):
        for entry in catalog.built_in(family):
            cls = getattr(catalog.load(family, entry.name), attribute)
            if option_fields(cls):
                parts.append(_keys(f"{family.removesuffix('s')} `{entry.name}`", cls))
    return "\n".join(parts).rstrip() + "\n"


def _limits(limits: object) -> str:
    found = [
        f"{item.name} {getattr(limits, item.name):g}"
        for item in dataclasses.fields(limits)  # type: ignore[arg-type]
        if getattr(limits, item.name) is not None
    ]
    return ", ".join(found) or "none"


def _keys(title: str, cls: type) -> str:
    rows = [f"## {title}\n", "| key | type | default |", "|---|---|---|"]
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        kind = option_fields(cls)[item.name]
        default = "required" if item.default is dataclasses.MISSING else repr(item.default)
        rows.append(f"| `{item.name}` | {_type(kind)} | {default} |")
    return "\n".join(rows) + "\n"


def _type(kind: object) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(repr(value) for value in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Annotated:
        return f"{typing.get_args(kind)[1].noun}"
    text = str(kind).replace("typing.", "") if typing.get_origin(kind) else kind.__name__  # type: ignore[attr-defined]
    return text.replace("|", "or")


if __name__ == "__main__":
    main()
