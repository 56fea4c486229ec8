"""report.md."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.notes import Note
from edgekit.core.report import Report
from edgekit.drawing.markdown import escaped
from edgekit.reporters import markdown


def test_names_cannot_break_a_table_or_carry_html(report: Report) -> None:
    weight = replace(report.result_description.weights[0], name="a|b <script>`x` $y$ _z_\n# no")
    made = replace(report.result_description, weights=(weight,))
    text = markdown.render(replace(report, result_description=made))
    assert r"| a\|b &lt;script&gt;\`x\` \$y\$ \_z\_" + "\ufffd" + r"\# no | 8×3×3×1 |" in text


def test_all_notes_are_there(failing_report: Report) -> None:
    text = markdown.render(failing_report)
    assert all(f"layer_{number}" in text for number in range(7))
    assert text.count("litert-quantizer has no int8 rule for it") == 1


def test_nothing_skipped_is_said(report: Report) -> None:
    quiet = replace(report, steps=())
    assert "Nothing was skipped or done in another way than asked for." in markdown.render(quiet)


def test_no_limits_is_no_pass(report: Report) -> None:
    assert markdown.render(replace(report, verdicts=())).splitlines()[2] == (
        "➖ **No limits set.** Measured, but held against nothing: no recipe or target set a "
        "limit. (train 9.2 s, compress 1.1 s, validate 2.0 s)"
    )


def test_command_cannot_leave_its_fence(report: Report) -> None:
    command = "edgekit compress 'my ```model.keras' --recipe int8"
    text = markdown.render(replace(report, command=command))
    assert f"````console\n$ {command}\n````" in text


def test_unread_parts_of_a_file_are_notes(report: Report) -> None:
    made = replace(report.result_description, notes=("2 tensors have no buffer",))
    text = markdown.render(replace(report, result_description=made))
    assert "- reading model.tflite: 2 tensors have no buffer" in text


@settings(max_examples=100, deadline=None)
@given(item=st.text(alphabet="|`\\_*[]<>&$~#ab \n", max_size=30))
def test_every_row_of_every_table_keeps_its_columns(item: str) -> None:
    text = escaped(item)
    assert not re.search(r"(?<!\\)(\\\\)*[|`<>]", text)


def test_note_with_markup_stays_one_list_item(report: Report) -> None:
    noted = replace(report, notes=(Note("skipped", "x\n- y", "<b>"),))
    assert "- skipped x\ufffd- y: &lt;b&gt;" in markdown.render(noted)
