"""Notes by step and kind; long lists fold."""

from __future__ import annotations

from dataclasses import replace

from edgekit.core.notes import Note
from edgekit.core.report import Report
from edgekit.reporters import html, markdown, terminal
from edgekit.reporters._notes import NoteGroup, checked, skipped

PROOFS = tuple(
    Note("measured sparsity", f"conv{i}", f"{90 - i / 100:.2f} %, asked 90 %", is_evidence=True)
    for i in range(40)
)
SKIPPED = tuple(Note("skipped", f"bn{i}", "it has no kernel") for i in range(40))


def noted(report: Report, *notes: Note) -> Report:
    return replace(report, steps=(replace(report.steps[0], notes=notes), report.steps[1]))


def test_notes_are_grouped_by_step_and_kind(report: Report) -> None:
    mixed = noted(report, Note("b", "1", "x"), Note("a", "2", "y"), Note("b", "3", "x"))
    found = [(group.origin, group.what, group.lines) for group in skipped(mixed)]
    assert found == [
        ("Step 1, keras-to-tflite", "b", ("b 1, 3: x",)),
        ("Step 1, keras-to-tflite", "a", ("a 2: y",)),
        (
            "Step 2, quantize",
            "kept float",
            ("kept float SOFTMAX_6: the output is asked for as float32",),
        ),
    ]
    assert [group.what for group in checked(mixed)] == ["proven"]


def test_notes_of_data_run_and_files_have_their_own_heading(report: Report) -> None:
    assert report.data is not None
    changed = replace(
        report,
        steps=(),
        data=replace(report.data, notes=(Note("dropped", "3 rows", "no label"),)),
        notes=(Note("skipped", "latency", "asked so"),),
        result_description=replace(report.result_description, notes=("an odd table",)),
    )
    assert [group.origin for group in skipped(changed)] == ["Data", "Run", "Files"]


def test_forty_proofs_are_folded_in_the_pages(report: Report) -> None:
    full = noted(report, *PROOFS)
    text = html.render(full)
    assert "<details><summary>measured sparsity: 40 items</summary>" in text
    assert '<th scope="row" class="k">conv39</th><td class="k">89.61 %, asked 90 %</td>' in text
    page = markdown.render(full)
    assert "<details><summary>measured sparsity: 40 items</summary>\n\n| item | found |" in page
    assert "\n| conv39 | 89.61 %, asked 90 % |\n" in page


def test_many_items_of_which_the_same_is_said_fold_with_the_reason(report: Report) -> None:
    full = noted(report, *SKIPPED)
    line = "skipped: 40 items: it has no kernel (40)"
    assert f"<summary>{line}</summary>" in html.render(full)
    assert f"<summary>{line}</summary>" in markdown.render(full)
    assert "note: skipped bn0, bn1, bn2 and 37 more: it has no kernel" in terminal.render(full)


def test_few_notes_stay_open(report: Report) -> None:
    assert "<details>" not in html.render(noted(report, *PROOFS[:6]))
    assert "<details>" in html.render(noted(report, *PROOFS[:7]))


def test_markup_in_a_folded_note_is_text(report: Report) -> None:
    notes = tuple(Note("</summary><b>", f"<i>|{i}", f"<u>{i}") for i in range(8))
    for text in (html.render(noted(report, *notes)), markdown.render(noted(report, *notes))):
        assert "<b>" not in text
        assert "<i>" not in text
        assert "<u>" not in text


def test_note_without_an_item_is_a_line() -> None:
    note = Note("stopped early", "", "the loss rose")
    assert NoteGroup("Run", "stopped early", (note,)).lines == ("stopped early: the loss rose",)
