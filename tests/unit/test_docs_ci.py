"""The templates for CI servers: they parse, and name only what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.cli.check import command
from edgekit.core import catalog

CI = Path(__file__).parents[2] / "docs" / "ci"
TEMPLATES = ("github/action.yml", "gitlab.yml")
FILES = {
    catalog.load("check_reports", name).SUFFIX
    for name in catalog.names("check_reports")
    if catalog.load("check_reports", name).SUFFIX
}


def text_of(name: str) -> str:
    return (CI / name).read_text(encoding="utf-8")


def yaml_texts() -> list[str]:
    fenced = [
        block
        for name in ("README.md", "pre-commit.md")
        for block in re.findall(r"```yaml\n(.*?)```", text_of(name), flags=re.S)
    ]
    return [*map(text_of, TEMPLATES), *fenced]


def test_yaml_parses() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found = [yaml.safe_load(text) for text in yaml_texts()]
    assert all(found)
    action, gitlab = found[:2]
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert "uses" in step or step["shell"] == "bash"
        assert "${{" not in step.get("run", "")
    assert set(gitlab["edgekit-check"]["artifacts"]["reports"]) == {"junit", "codequality"}


def test_yaml_has_no_tabs_and_inputs_reach_scripts_as_variables() -> None:
    for text in yaml_texts():
        assert "\t" not in text
    scripts = text_of("github/action.yml").split("run: |")[1:]
    assert not [script for script in scripts if "${{" in script.partition("    - ")[0]]


@pytest.mark.parametrize("name", [*TEMPLATES, "README.md"])
def test_templates_use_options_that_exist(name: str) -> None:
    known = {option for item in command.params for option in item.opts}
    lines = [line for line in text_of(name).splitlines() if re.search("edgekit check .*--", line)]
    assert lines
    for line in lines:
        assert set(re.findall(r" (--[a-z-]+)", line)) <= known, line


def test_every_file_that_check_writes_is_explained() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", text_of("README.md"), flags=re.M)
    assert set(rows) == FILES


def test_templates_take_files_that_check_writes() -> None:
    named = set(re.findall(r"check-results/([\w.-]+)", text_of("gitlab.yml")))
    assert named == {"junit.xml", "gl-code-quality-report.json"}
    assert named <= FILES
