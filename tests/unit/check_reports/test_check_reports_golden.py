"""Every output of one run with all ends, compared with the files in tests/golden."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from edgekit.core import catalog
from edgekit.core.gate import GateResult

Compare = Callable[[str, str], None]

TEXTS = [name for name in catalog.names("check_reports") if name != "html"]


@pytest.mark.parametrize("name", TEXTS)
def test_output_is_as_agreed(name: str, failed_run: GateResult, golden: Compare) -> None:
    module = catalog.load("check_reports", name)
    golden(f"check_{module.SUFFIX or f'{name}.txt'}", module.render(failed_run))


def test_page_without_style_is_as_agreed(failed_run: GateResult, golden: Compare) -> None:
    page = catalog.load("check_reports", "html").render(failed_run)
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.S)
    golden("check_page.html", re.sub(r"(</tr>|</li>|</div>|/>|</text>)", r"\1\n", page))


def test_no_two_outputs_write_the_same_file() -> None:
    files = [catalog.load("check_reports", name).SUFFIX for name in catalog.names("check_reports")]
    written = [file for file in files if file]
    assert len({*written}) == len(written) == 7
    assert all(re.fullmatch(r"[a-z-]+\.[a-z]+", file) for file in written)


def test_every_output_of_every_run_can_be_written(any_run: GateResult) -> None:
    for name in catalog.names("check_reports"):
        text = catalog.load("check_reports", name).render(any_run)
        assert isinstance(text.encode("utf-8"), bytes)
        assert "\x1b" not in text
        assert "\x00" not in text
