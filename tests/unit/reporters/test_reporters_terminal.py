"""The printed table."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.data import Judgement, Score
from edgekit.core.limits import Verdict
from edgekit.core.measurement import Figure, Latency, Memory
from edgekit.core.notes import Note
from edgekit.core.report import Report
from edgekit.core.runner import OpPlacement, Placement
from edgekit.reporters import _wording, terminal
from edgekit.reporters._placement import placement_text


def line(report: Report, start: str) -> str:
    found = [row for row in terminal.render(report).splitlines() if row.strip().startswith(start)]
    return found[0]


def with_verdicts(report: Report, *verdicts: Verdict) -> Report:
    return replace(report, verdicts=verdicts)


def test_title_says_how_long_each_part_took(report: Report) -> None:
    first = terminal.render(report).splitlines()[0]
    assert first == "digits-cnn · int8 · cpu-litert  (train 9.2 s, compress 1.1 s, validate 2.0 s)"
    bare = replace(report, seconds={})
    assert terminal.render(bare).splitlines()[0] == "digits-cnn · int8 · cpu-litert"


def test_without_data_accuracy_is_unmeasured(unmeasured_report: Report) -> None:
    free = with_verdicts(unmeasured_report)
    assert line(free, "accuracy") == "  accuracy    unmeasured (no --data)"


def test_broken_size_says_value_limit_difference_and_key(failing_report: Report) -> None:
    assert line(failing_report, "FAIL size") == (
        "  FAIL size: 8.7 kB, limit 6 kB, 2.70 kB over (weights 5.10 kB, tables 3.20 kB); "
        "to accept it, edit max_size in targets/cpu-litert.toml"
    )


def test_broken_accuracy_shows_digits_enough_to_see_the_difference(failing_report: Report) -> None:
    verdict = Verdict("max_accuracy_drop", 0.0104, 0.01, "fail", "recipes/int8.toml")
    assert line(with_verdicts(failing_report, verdict), "FAIL accuracy") == (
        "  FAIL accuracy: -1.04 pt, limit -1.0 pt, 0.04 pt beyond (4 right to wrong, "
        "2 wrong to right); to accept it, edit max_accuracy_drop in recipes/int8.toml"
    )


def test_broken_agreement_latency_and_memory_are_said(report: Report) -> None:
    verdicts = (
        Verdict("min_agreement", 0.9756, 0.99, "fail", "recipes/int8.toml"),
        Verdict("max_latency", 2_600_000, 2_500_000, "fail", "targets/x.toml"),
        Verdict("max_memory", 70e6, 64_000_000, "fail", "--max-memory"),
    )
    lines = terminal.render(with_verdicts(report, *verdicts)).splitlines()
    assert [row for row in lines if row.startswith("  FAIL")] == [
        "  FAIL agreement: 97.6 %, limit ≥ 99 %, 1.4 pt under (1 right to wrong, "
        "1 wrong to right); to accept it, edit min_agreement in recipes/int8.toml",
        "  FAIL latency: 2.6 ms, limit 2.5 ms, 100.0 us over; to accept it, edit max_latency in "
        "targets/x.toml",
        "  FAIL memory: 70 MB, limit 64 MB, 6.00 MB over; to accept it, edit --max-memory",
    ]


def test_limit_that_no_row_shows_gets_its_own_row(report: Report) -> None:
    odd = Verdict("max_energy", 7.5, 5.0, "fail", "targets/x.toml", "millijoule")
    shown = with_verdicts(report, odd, replace(odd, metric="max_heat", value=None))
    assert line(shown, "max_energy").split() == (
        ["max_energy", "7.5", "5", "FAIL", "targets/x.toml", "millijoule"]
    )
    assert line(shown, "max_heat").split()[1:3] == ["unmeasured", "(millijoule)"]


def test_two_limits_on_one_metric_are_two_lines_worst_first(report: Report) -> None:
    ratio = Verdict("max_latency_ratio", 0.41, 1.0, "pass", "recipes/int8.toml")
    time = Verdict("max_latency", 17_600, 10_000, "fail", "targets/x.toml")
    lines = terminal.render(with_verdicts(report, ratio, time)).splitlines()
    first = next(i for i, row in enumerate(lines) if row.startswith("  latency"))
    assert "10 us  FAIL  targets/x.toml  [0.39, 0.44] interleaved, 1 thread" in lines[first]
    assert lines[first + 1].split() == ["1.0x", "ok", "recipes/int8.toml"]


def test_test_set_too_small_for_the_limit_is_said(failing_report: Report) -> None:
    assert line(failing_report, "accuracy").endswith(
        "(450 samples; sees drops over 1.1 pt, more than the limit; "
        "not shown to be equivalent within 1.0 pt, TOST p 0.18)"
    )


def test_no_flips_is_said_in_words(report: Report) -> None:
    assert report.judgement is not None
    equal = replace(report, judgement=replace(report.judgement, smallest_visible_drop=0.0))
    assert line(equal, "accuracy").endswith("(450 samples; none flipped)")


def test_metric_that_is_no_share_has_no_points(report: Report) -> None:
    before = Score("mae", 2.0, (1.9, 2.1), 90, higher_is_better=False, is_share=False)
    after = replace(before, value=2.25)
    judged = Judgement(before, after, None, None, None, 0.125)
    changed = replace(
        report,
        reference=replace(report.reference, score=before),
        result=replace(report.result, score=after),
        judgement=judged,
        verdicts=(Verdict("min_agreement", None, 0.9, "unmeasured", "r.toml", "no classes"),),
    )
    assert line(changed, "mae").split() == (
        ["mae", "2", "2.25", "+0.25", "(90", "samples;", "sees", "drops", "over", "0.125)"]
    )
    assert "unmeasured (no classes)" in line(changed, "agreement")


def test_estimate_is_marked(report: Report) -> None:
    latency = Latency("estimated", "Vela's own figure", median_ns=2_000_000, threads=1)
    shown = replace(report, result=replace(report.result, latency=latency), verdicts=())
    assert line(shown, "latency").endswith("  1 thread (estimated: Vela's own figure)")
    assert "~2.00 ms" in line(shown, "latency")


def test_at_most_five_notes_and_the_count_of_the_others(report: Report) -> None:
    notes = tuple(Note("kept float", f"layer_{i}", f"reason {i}") for i in range(7))
    late = Note("skipped", "accuracy", "no labels")
    lines = terminal.render(replace(report, steps=(), notes=(*notes, late))).splitlines()
    assert [row for row in lines if row.startswith("  note:")] == [
        *(f"  note: kept float layer_{i}: reason {i}" for i in range(4)),
        "  note: skipped accuracy: no labels",
    ]
    assert lines[-1] == "  (+3 more in report.md)"


def test_items_of_which_the_same_is_said_share_a_line(failing_report: Report) -> None:
    assert terminal.render(failing_report).splitlines()[-1] == (
        "  note: kept float layer_0, layer_1, layer_2 and 4 more: litert-quantizer has no int8 "
        "rule for it"
    )


def test_color_is_only_on_the_status_words(report: Report, failing_report: Report) -> None:
    for made in (report, failing_report):
        colored = terminal.render(made, color=True)
        assert "\x1b[32mok" in colored
        plain = colored.replace("\x1b[32m", "").replace("\x1b[1;31m", "").replace("\x1b[0m", "")
        assert [row.rstrip() for row in plain.splitlines()] == terminal.render(made).splitlines()


def test_placement_groups_kinds_by_reason() -> None:
    ops = [OpPlacement(i, "CONV_2D", "NPU", "int8") for i in range(3)]
    ops += [OpPlacement(i, "PAD", "CPU", "int8", "pads the batch") for i in range(2)]
    ops += [OpPlacement(8, "CAST", "CPU", "float32", "pads the batch")]
    assert placement_text(Placement(tuple(ops))) == (
        "5 of 6 ops int8, 1 float32, NPU 3, CPU 3 (PAD 2, CAST: pads the batch)"
    )
    many = tuple(OpPlacement(i, f"K{i}", "CPU", "int8", f"reason {i}") for i in range(5))
    assert placement_text(Placement(many)).endswith(
        "(K0: reason 0; K1: reason 1; K2: reason 2; +2 more reasons)"
    )
    assert placement_text(Placement(())) == "unmeasured"


def test_absolute_paths_are_not_shown() -> None:
    assert [_wording.file_name(path) for path in PATHS] == [
        *("targets/x.toml", "x.toml", "npz:d.npz", "npz:data/d.npz", "x.toml", "digits"),
    ]


PATHS = (
    "targets/x.toml",
    "/home/me/x.toml",
    "npz:/home/me/d.npz",
    "npz:data/d.npz",
    r"C:\me\x.toml",
    "digits",
)


@settings(max_examples=150, deadline=None)
@given(name=st.text(max_size=200))
def test_any_name_stays_on_its_line_and_has_no_control_codes(name: str) -> None:
    shown = _wording.clean(name)
    assert shown.isprintable()
    assert len(shown) <= 80
    shown.encode("utf-8")


def test_escape_codes_in_a_note_do_not_reach_the_terminal(report: Report) -> None:
    hostile = replace(report, notes=(Note("skipped", "\x1b[2Jlayer\n", "\x07 why"),))
    assert terminal.render(hostile).splitlines()[-1] == (
        "  note: skipped \ufffd[2Jlayer\ufffd: \ufffd why"
    )


def test_figures_of_the_target_have_their_kind_and_their_source(report: Report) -> None:
    figures = (
        Figure("NPU cycles", 18_801, "cycles", "estimated", "a compiler, 500 MHz"),
        Figure("flash", 22_400, "bytes", "measured", "code and constants"),
    )
    own = replace(report.result, figures=figures)
    told = replace(report, result=own)
    assert line(told, "NPU cycles").split("~")[1].split("  ")[0] == "18,801"
    assert line(told, "NPU cycles").endswith("(estimated: a compiler, 500 MHz)")
    assert line(told, "flash").endswith("(code and constants)")
    assert "22.4 kB" in line(told, "flash")
    before = replace(report.reference, figures=(replace(figures[1], value=11_200),))
    assert "2.00x" in line(replace(told, reference=before), "flash")


def test_memory_that_is_none_of_a_process_gets_no_ratio(report: Report) -> None:
    memory = Memory("measured", peak_bytes=1_500, process="RAM and stack, in an emulator")
    told = replace(report, result=replace(report.result, memory=memory))
    assert line(told, "memory").split() == [
        *("memory", "44.1", "MB", "1.50", "kB"),
        *("RAM", "and", "stack,", "in", "an", "emulator"),
    ]
