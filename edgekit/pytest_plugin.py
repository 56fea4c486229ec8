"""A plug-in for pytest: the fixture `edgekit_check`, and `--edgekit` for a test a row.

pytest loads it at every start, so what it needs is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from edgekit.core.gate import RowResult

__all__ = ["edgekit_check"]

_FILE: Final = "edgekit.toml"
"""`core.project.PROJECT_FILE`, written here because importing that takes milliseconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--edgekit`."""
    parser.getgroup("edgekit").addoption(
        "--edgekit",
        action="store_true",
        help="also run every row of edgekit.toml as a test, as `edgekit check` does",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Adds the project's file to what is collected, wherever the tests lie."""
    file = config.rootpath / _FILE
    if config.getoption("edgekit") and file.is_file() and str(file) not in config.args:
        config.args.append(str(file))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Takes files named `edgekit.toml`, with `--edgekit` only."""
    if file_path.name == _FILE and parent.config.getoption("edgekit"):
        made: pytest.Collector = _ProjectFile.from_parent(parent, path=file_path)
        return made
    return None


@pytest.fixture
def edgekit_check(request: pytest.FixtureRequest) -> Callable[[str], RowResult]:
    """Runs a row of the nearest `edgekit.toml` and fails the test with what was found.

    A row that could not be measured fails too; one that is not required, and whose target does not
    work here, skips the test.
    """
    folder = _folder_of(request.path, request.config.rootpath)
    return lambda name: _checked(folder, name)


class _ProjectFile(pytest.File):
    """The project's file; its rows are the tests."""

    def collect(self) -> Iterator[pytest.Item]:
        from edgekit.core.checks import load_checks
        from edgekit.errors import UsageError

        try:
            rows = load_checks(self.path.parent)
        except UsageError as error:
            raise self.CollectError(_said(error)) from None
        for row in rows:
            yield _Row.from_parent(self, name=row.name)


class _Row(pytest.Item):
    """One row, built, measured and judged as `edgekit check NAME` does."""

    def runtest(self) -> None:
        result = _checked(self.path.parent, self.name)
        self.user_properties += [
            (finding.metric, finding.value)
            for finding in result.findings
            if finding.value is not None
        ]

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"edgekit check {self.name}"


def _checked(folder: Path, name: str) -> RowResult:
    from edgekit.check_reports.terminal import sentences
    from edgekit.engine.check import check
    from edgekit.errors import EdgekitError

    try:
        (result,), wrong = check((name,), folder=folder).rows, ""
    except EdgekitError as error:
        result, wrong = None, _said(error)
    if result is None:
        pytest.fail(wrong, pytrace=False)
    said = "\n".join(f"{name}: {sentence}" for sentence in sentences(result))
    if result.status == "skipped":
        pytest.skip(said)
    if result.status != "pass":
        pytest.fail(said or f"{name}: {result.status}", pytrace=False)
    return result


def _said(error: Exception) -> str:
    hint = getattr(error, "hint", "")
    return f"{error}\nhint: {hint}" if hint else str(error)


def _folder_of(test: Path, root: Path) -> Path:
    """The nearest folder above a test that has a project's file, pytest's own root otherwise."""
    for folder in test.parents:
        if (folder / _FILE).is_file():
            return folder
        if folder == root:
            break
    return root
