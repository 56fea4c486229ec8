"""What was to run on a delegate and does not: notes, verdicts, and what strict refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.device import Delegate, DeviceSpec
from edgekit.core.limits import Limits, SourcedLimits, Verdict
from edgekit.core.runner import Attempt, OpPlacement, Placement
from edgekit.core.target import Target, load_target
from edgekit.engine import fallbacks
from edgekit.engine.delegation import Delegation
from edgekit.engine.models import open_artifact
from edgekit.errors import PromiseError, UnmeasuredError, UsageError

X = Delegate("/lib/libx.so")


def target(*delegates: Delegate, share: float | None = None, name: str = "cpu-litert") -> Target:
    limits = SourcedLimits(Limits(min_delegated=share), "t.toml")
    return dataclasses.replace(load_target(name), delegates=delegates, limits=limits)


def placed(*places: str, tried: tuple[Attempt, ...] = ()) -> Placement:
    """The ops CONV_2D, ADD, ADD ... at these places."""
    kinds = ["CONV_2D", *["ADD"] * len(places)]
    ops = [OpPlacement(i, kinds[i], where, "int8") for i, where in enumerate(places)]
    return Placement(tuple(ops), attempts=tried)


class TestWithDelegates:
    def test_they_take_the_place_of_the_target_s_own(self) -> None:
        found = fallbacks.with_delegates(target(X), [Delegate("NPU")], strict=True)
        assert (found.delegates, found.strict) == ((Delegate("NPU"),), True)
        assert fallbacks.with_delegates(target(X), []).delegates == (X,)
        assert not fallbacks.lenient(found).strict

    def test_a_runtime_that_takes_none(self) -> None:
        with pytest.raises(UsageError, match="'null' runs in no runtime that takes delegates"):
            fallbacks.with_delegates(load_target("null"), [X])

    def test_a_library_is_looked_at_where_it_is(self) -> None:
        with pytest.raises(UsageError, match="/lib/libx.so': no such file"):
            fallbacks.with_delegates(target(), [X])
        assert fallbacks.with_delegates(target(), [X], to_device=True).delegates == (X,)
        away = dataclasses.replace(target(), device=DeviceSpec("ssh", None, "board"))
        assert fallbacks.with_delegates(away, [X]).delegates == (X,)

    def test_a_target_that_waits_for_a_library_says_how_to_give_one(self) -> None:
        with pytest.raises(UsageError) as caught:
            fallbacks.with_delegates(load_target("delegate"), [])
        assert str(caught.value) == "target 'delegate' needs the library of a delegate"
        assert "--delegate LIB.so[:KEY=VALUE,...]" in caught.value.hint
        assert 'inherit = "delegate" and [[delegate]]' in caught.value.hint

    def test_a_file_that_inherits_it_names_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "npu.toml"
        path.write_text(
            'summary = "x"\ninherit = "delegate"\n[[delegate]]\nlibrary = "/a/libnpu.so"\n'
            "[delegate.options]\ncores = 2\n"
        )
        found = fallbacks.with_delegates(load_target(str(path)), [])
        assert found.delegates == (Delegate("/a/libnpu.so", {"cores": 2}),)
        assert found.limits.limits.min_delegated == 1

    def test_strict_needs_something_to_hold(self) -> None:
        with pytest.raises(UsageError, match="--strict: target 'cpu-litert' has no delegate"):
            fallbacks.delegated(target(), Delegation(strict=True))
        assert fallbacks.delegated(target(share=0.5), Delegation(strict=True)).strict


class TestNotes:
    def test_every_attempt_that_failed_has_its_reason(self) -> None:
        tried = (
            Attempt("libx.so", ok=False, reason="m.tflite: litert 2 does not run it: no device"),
            Attempt("ai_edge_litert", ok=False, reason="ai_edge_litert is not installed"),
            Attempt("libz.so", ok=False),
            Attempt("tflite_runtime", ok=True),
        )
        found = fallbacks.fallback_notes(target(X), placed("CPU", "CPU", tried=tried))
        assert [(note.what, note.item, note.reason) for note in found] == [
            ("fell back", "libx.so", "no device"),
            ("fell back", "ai_edge_litert", "ai_edge_litert is not installed"),
            ("fell back", "libz.so", "it gives no reason"),
            ("on the CPU", "2 of 2 ops", "nothing that was to take them opened the model"),
        ]
        of = fallbacks.fallback_notes(target(X), placed("CPU", tried=tried[:1]), of="A: ")
        assert [(note.what, note.item) for note in of] == [("fell back", "A: libx.so")]

    def test_ops_that_stay_are_counted_by_their_reason(self) -> None:
        ops = [OpPlacement(i, f"OP{i}", "CPU", "int8", "odd") for i in range(8)]
        ops += [OpPlacement(8, "ADD", "XNNPACK", "int8"), OpPlacement(9, "ADD", "CPU", "int8")]
        ops += [OpPlacement(10, "MUL", "libx.so", "int8")]
        (note,) = fallbacks.fallback_notes(target(X), Placement(tuple(ops)))
        assert note.item == "10 of 11 ops"
        assert note.reason == (
            "1 OP0, 1 OP1, 1 OP2, 1 OP3, 1 OP4, 1 OP5, 2 other kinds: odd; "
            "1 ADD: XNNPACK took it; 1 ADD: the runtime gives no reason"
        )

    def test_a_plain_cpu_has_none(self) -> None:
        assert fallbacks.fallback_notes(target(), placed("CPU", "XNNPACK")) == ()

    def test_xnnpack_counts_where_no_delegate_was_wanted(self) -> None:
        (note,) = fallbacks.fallback_notes(target(share=0.9), placed("CPU", "XNNPACK"))
        assert note.item == "1 of 2 ops"


class TestVerdicts:
    def test_a_broken_share_says_what_failed(self) -> None:
        tried = (Attempt("libx.so", ok=False, reason="no device"),)
        (found,) = fallbacks.share_verdicts(target(X, share=0.5), placed("CPU", tried=tried))
        assert (found.status, found.value, found.bound) == ("fail", 0, 0.5)
        assert found.reason.startswith("fell back: libx.so: no device; on the CPU: 1 of 1 ops")

    def test_a_share_that_holds_and_one_that_nobody_knows(self) -> None:
        wants = target(X, share=0.5)
        (good,) = fallbacks.share_verdicts(wants, placed("libx.so", "CPU"))
        (unknown,) = fallbacks.share_verdicts(wants, Placement((), "it does not say"))
        assert (good.status, good.reason) == ("pass", "")
        assert (unknown.status, unknown.reason) == ("unmeasured", "it does not say")
        assert fallbacks.share_verdicts(target(X), placed("CPU")) == ()

    def test_other_limits_keep_their_reason(self) -> None:
        other = Verdict("max_size", 2, 1, "fail", "t.toml", "large")
        assert fallbacks.explained((other,), target(X), placed("CPU")) == (other,)


class FakeSession:
    """Opens, says where ops run, and fails at its inference where it is told to."""

    def __init__(self, where: Placement, fails: str = "") -> None:
        self.where, self.fails, self.closed = where, fails, False
        self.signature: Any = None

    def placement(self) -> Placement:
        return self.where

    def run(self, inputs: object) -> object:
        if self.fails:
            raise UsageError(self.fails)
        return inputs

    def close(self) -> None:
        self.closed = True


class TestStrict:
    @pytest.fixture
    def check(self, monkeypatch: pytest.MonkeyPatch, tiny_float: Path) -> Any:
        artifact = open_artifact(tiny_float)

        def run(of: Target, session: FakeSession, *, strict: bool = True) -> None:
            def opened(subject: Any) -> FakeSession:
                assert subject.device is None or not subject.device.strict
                return session

            monkeypatch.setattr(fallbacks, "open_session", opened)
            monkeypatch.setattr("edgekit.engine.inference.model_inputs", lambda _, x: x)
            fallbacks.check_strictly(artifact, dataclasses.replace(of, strict=strict))
            assert session.closed == strict

        return run

    def test_what_holds_passes_and_nothing_is_opened_without_it(self, check: Any) -> None:
        check(target(X, share=0.5), FakeSession(placed("libx.so", "CPU")))
        check(target(X, share=1.0), FakeSession(placed("CPU")), strict=False)

    @pytest.mark.parametrize(
        ("session", "said"),
        [
            (
                FakeSession(placed("CPU", tried=(Attempt("libx.so", ok=False, reason="odd"),))),
                "libx.so fails: odd",
            ),
            (
                FakeSession(placed("CPU", "XNNPACK", "libx.so")),
                "1 of 3 ops are delegated, and min_delegated is 50 % (t.toml); on the CPU: 1 CONV",
            ),
            (FakeSession(placed("libx.so"), "it is on fire"), "the first inference fails: it is"),
        ],
    )
    def test_what_does_not_is_named(self, check: Any, session: FakeSession, said: str) -> None:
        with pytest.raises(PromiseError) as caught:
            check(target(X, share=0.5), session)
        assert caught.value.message.startswith(f"--strict: target 'cpu-litert': {said}")
        assert session.closed

    def test_what_nobody_knows_is_no_pass(self, check: Any) -> None:
        with pytest.raises(UnmeasuredError, match="not known what runs where: hidden"):
            check(target(X, share=0.5), FakeSession(Placement((), "hidden")))

    def test_a_runtime_that_is_missing_is_no_delegate_that_fails(self) -> None:
        tried = (Attempt("ai_edge_litert", ok=False, reason="not installed"),)
        assert fallbacks.unkept(target(X), placed("libx.so", tried=tried)) == ""
