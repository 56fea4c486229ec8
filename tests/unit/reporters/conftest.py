"""Three reports built by hand: within limits, over two limits, and not proven."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from training_steps import curve, training_step

from edgekit.core.artifact import Artifact, InputScaling, Quantization, Signature, TensorSpec
from edgekit.core.data import Judgement, Score
from edgekit.core.description import Description, Op, Weight
from edgekit.core.limits import Limits, SourcedLimits, Verdict, judge
from edgekit.core.measurement import Latency, Measurements, Memory
from edgekit.core.notes import Note
from edgekit.core.report import DataFacts, Report, StepRecord
from edgekit.core.runner import OpPlacement, Placement
from edgekit.engine.bench_ratio import with_ratio

GOLDEN = Path(__file__).parents[2] / "golden"
NO_DATA = "no validation data was given (--data)"

LAYERS = (
    ("conv2d/kernel", (8, 3, 3, 1)),
    ("conv2d/bias", (8,)),
    ("conv2d_1/kernel", (16, 3, 3, 8)),
    ("conv2d_1/bias", (16,)),
    ("dense/kernel", (48, 64)),
    ("dense/bias", (48,)),
    ("logits/kernel", (10, 48)),
    ("logits/bias", (10,)),
)
KINDS = ("CONV_2D", "MAX_POOL_2D", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED")


def description(itemsize: int, dtype: str, *, overhead: int = 3600) -> Description:
    weights = tuple(
        Weight(
            name,
            shape,
            "int32" if "bias" in name and dtype == "int8" else dtype,
            Weight(name, shape, "", 0).parameters * (4 if "bias" in name else itemsize),
        )
        for name, shape in LAYERS
    )
    stored = sum(weight.size_bytes for weight in weights)
    scale = Quantization(0.00390625, -128) if dtype == "int8" else None
    ops = (*KINDS, "SOFTMAX")
    return Description(
        format="tflite",
        signature=Signature(
            (TensorSpec("image", (1, 8, 8, 1), dtype, scale),),
            (TensorSpec("scores", (1, 10), dtype, scale),),
        ),
        ops=tuple(
            Op(i, kind, f"{kind}_{i}", (dtype,), 9216 if kind == "CONV_2D" else None)
            for i, kind in enumerate(ops)
        ),
        weights=weights,
        size_bytes=stored + overhead,
        bytes_by=(("weights", stored), ("tables", overhead - 400), ("metadata", 400)),
        parameters=sum(weight.parameters for weight in weights),
    )


def samples(middle: int, seed: int, slow: float = 0.03) -> tuple[int, ...]:
    """Latency as machines have it: a narrow hill, a shoulder, and a few far outliers."""
    draw = random.Random(seed)
    return tuple(
        round(middle * (1 + abs(draw.gauss(0, 0.04)) + (draw.random() < slow) * draw.uniform(1, 9)))
        for _ in range(400)
    )


def placement(dtype: str) -> Placement:
    rows = [OpPlacement(i, kind, "XNNPACK", dtype) for i, kind in enumerate(KINDS)]
    reason = "no int8 kernel in XNNPACK" if dtype == "int8" else ""
    where = "CPU" if reason else "XNNPACK"
    return Placement((*rows, OpPlacement(len(KINDS), "SOFTMAX", where, dtype, reason)))


def score(value: float, by_class: tuple[float, ...]) -> Score:
    return Score(
        "accuracy",
        value,
        (value - 0.0172, value + 0.0098),
        450,
        details={"precision": value + 0.001, "recall": value - 0.001, "f1": value},
        by_class={str(digit): part for digit, part in enumerate(by_class)},
    )


BEFORE = score(0.98, (1, 0.978, 1, 0.956, 0.978, 1, 1, 0.956, 0.93, 1))


def measurements(digest: str, made: Description, dtype: str) -> Measurements:
    is_result = dtype == "int8"
    middle = 17_100 if is_result else 41_800
    taken = samples(middle, seed=len(dtype))
    latency = Latency(
        "measured",
        median_ns=sorted(taken)[200],
        samples_ns=taken,
        load_ns=1_240_000,
        first_ns=88_000,
        process="interleaved",
    )
    return Measurements(
        digest=digest,
        size_bytes=made.size_bytes,
        size_compressed_bytes=round(made.size_bytes * 0.83),
        score=BEFORE,
        latency=with_ratio(latency, 0.41, (0.39, 0.44), margin=0.03) if is_result else latency,
        memory=Memory("measured", peak_bytes=44_100_000, process="a fresh process"),
        placement=placement(dtype),
    )


def judged(limits: tuple[SourcedLimits, ...], report: Report) -> Report:
    verdicts: tuple[Verdict, ...] = judge(limits, report.result, report.judgement)
    return replace(report, verdicts=verdicts)


def limits(**target: float) -> tuple[SourcedLimits, ...]:
    return (
        SourcedLimits(Limits(max_accuracy_drop=0.01, max_latency_ratio=1.0), "recipes/int8.toml"),
        SourcedLimits(Limits(**{"max_size": 256_000, **target}), "targets/cpu-litert.toml"),
    )


def passing() -> Report:
    before, after = description(4, "float32"), description(1, "int8")
    source = Artifact(
        Path("/home/somebody/secret/digits-cnn.keras"),
        "keras",
        "0a" * 32,
        "digits-cnn",
        scaling=InputScaling((0.0625,), (0.0,), 0.0, 16.0),
    )
    model = Artifact(Path("/tmp/x/model.tflite"), "tflite", "2c" * 32, "digits-cnn", "quantize")
    float_model = Artifact(Path("/tmp/x/float.tflite"), "tflite", "1b" * 32, "digits-cnn")
    notes = (
        Note("kept float", "SOFTMAX_6", "the output is asked for as float32"),
        Note("proven", "8 probes", "all outputs are finite", is_evidence=True),
    )
    report = Report(
        title="digits-cnn · int8 · cpu-litert",
        source=source,
        recipe="int8",
        target="cpu-litert",
        seed=0,
        edgekit_version="0.1.0",
        machine={"system": "Linux 6.1 x86_64", "cpu": {"name": "Example CPU", "cores": 2}},
        steps=(
            StepRecord("keras-to-tflite", "conversion", "tflite", {}, "1b" * 32, 17_944, 0.8, True),
            StepRecord(
                "quantize",
                "technique",
                "tflite",
                {"scheme": "int8", "samples": 200, "skip": ("logits*",)},
                "2c" * 32,
                after.size_bytes,
                0.31,
                False,
                notes,
            ),
        ),
        reference_artifact=float_model,
        reference=measurements("1b" * 32, before, "float32"),
        reference_description=before,
        result_artifact=model,
        result=measurements("2c" * 32, after, "int8"),
        result_description=after,
        data=DataFacts(
            "digits",
            "3d" * 32,
            "classification",
            {"train": 1077, "calibrate": 135, "select": 135, "test": 450},
        ),
        judgement=Judgement(BEFORE, BEFORE, 0.9956, 1, 1, 0.0092, 0.75),
        verdicts=(),
        seconds={"train": 9.2, "compress": 1.1, "validate": 2.0},
        command="edgekit compress zoo:digits-cnn --recipe int8 --target cpu-litert --data digits",
    )
    return judged(limits(), report)


def failing() -> Report:
    """Size and latency over their limits, some classes worse, an op that fell back."""
    report = passing()
    after = score(0.9756, (1, 0.956, 1, 0.956, 0.978, 1, 0.978, 0.956, 0.95, 0.96))
    result = replace(
        report.result,
        score=after,
        latency=with_ratio(
            replace(
                report.result.latency,
                median_ns=61_000,
                samples_ns=samples(60_000, 9, slow=0.1),
            ),
            *(1.46, (1.38, 1.55)),
            margin=0.03,
        ),
    )
    changed = replace(
        report,
        result=result,
        judgement=Judgement(BEFORE, after, 0.9844, 4, 2, 0.0107, 0.34),
        steps=(
            *report.steps[:1],
            replace(
                report.steps[1],
                notes=tuple(
                    Note("kept float", f"layer_{i}", "litert-quantizer has no int8 rule for it")
                    for i in range(7)
                ),
            ),
        ),
    )
    return judged(limits(max_size=6_000, max_memory=64_000_000), changed)


def unmeasured() -> Report:
    """No data, and a machine on which memory cannot be read."""
    report = passing()
    gone = Memory("unmeasured", "the system has no /proc")
    changed = replace(
        report,
        reference=replace(report.reference, score=None, memory=gone),
        result=replace(
            report.result,
            score=None,
            memory=gone,
            placement=Placement((), "the runtime does not say"),
        ),
        data=None,
        judgement=None,
        notes=(Note("skipped", "accuracy", NO_DATA),),
    )
    return judged(limits(max_memory=64_000_000), changed)


REPORTS: dict[str, Callable[[], Report]] = {
    "pass": passing,
    "fail": failing,
    "unmeasured": unmeasured,
}


@pytest.fixture(params=sorted(REPORTS))
def named_report(request: pytest.FixtureRequest) -> tuple[str, Report]:
    return request.param, REPORTS[request.param]()


@pytest.fixture
def report() -> Report:
    return passing()


@pytest.fixture
def failing_report() -> Report:
    return failing()


@pytest.fixture
def unmeasured_report() -> Report:
    return unmeasured()


@pytest.fixture
def trained(report: Report) -> Callable[..., Report]:
    """Makes the passing report with training steps before its own."""
    return lambda *steps: replace(report, steps=(*steps, *report.steps))


@pytest.fixture
def trained_report(report: Report) -> Report:
    return replace(report, steps=(training_step(curve(), epochs=4), *report.steps))


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compares a text with tests/golden/NAME; EDGEKIT_UPDATE_GOLDEN=1 writes it instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("EDGEKIT_UPDATE_GOLDEN") == "1":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"see tests/golden/README.md: {name}"

    return compare
