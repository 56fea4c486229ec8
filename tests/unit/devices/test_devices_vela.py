"""The device `vela`: its options, its environment, and its server."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_scripts import int8_convolution, ready
from vela_fakes import OPTIONS, REFUSED, RELU_TANH, SOME, SUMMARY, chain, fake_environment, model

from edgekit.core.device import DeviceSpec
from edgekit.core.schema import build
from edgekit.core.target import load_target
from edgekit.devices import vela
from edgekit.engine.device_session import DeviceSession, open_on_device
from edgekit.engine.models import describe
from edgekit.engine.open_model import open_model
from edgekit.errors import UnmeasuredError, UsageError

__all__ = ["model"]

SPEC = DeviceSpec("vela", OPTIONS, "ethos")
TABLE = {key: value for key, value in dataclasses.asdict(OPTIONS).items() if value is not None}


def opened(path: Path, spec: DeviceSpec = SPEC, **options: Any) -> DeviceSession:
    artifact = open_model(str(path))
    return open_on_device(
        spec,
        {path.name: path},
        format="tflite",
        signature=describe(artifact).signature,
        options=options,
    )


def figures(session: DeviceSession) -> dict[str, tuple[int, str, str]]:
    return {f.name: (f.value, f.unit, f.kind) for f in session.figures()}


class TestOptions:
    def test_an_unknown_accelerator_has_the_nearest_names(self) -> None:
        with pytest.raises(UsageError, match="ethos-u55-129") as caught:
            build(vela.Options, {**TABLE, "accelerator": "ethos-u55-129"}, where="t.toml")
        assert "ethos-u55-128" in caught.value.hint

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("system_config", "--output", "system_config must be a section's name"),
            ("memory_mode", "", "memory_mode must be a section's name, not ''"),
            ("arena_cache_size", "0 B", "arena_cache_size must be from 1 byte to 4 GiB"),
        ],
    )
    def test_a_strange_value_is_refused(self, key: str, value: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            build(vela.Options, {**TABLE, key: value}, where="t.toml")

    def test_the_words_for_vela(self, tmp_path: Path) -> None:
        config = tmp_path / "my.ini"
        options = dataclasses.replace(
            OPTIONS, config=str(config), optimise="Size", arena_cache_size=1000
        )
        words = vela._arguments(options)
        assert words[words.index("--config") + 1] == str(config)
        assert words[words.index("--optimise") + 1] == "Size"
        assert words[words.index("--arena-cache-size") + 1] == "1000"
        assert "Arm/vela.ini" in vela._arguments(OPTIONS)


class TestAvailable:
    def test_without_vela(self) -> None:
        said = vela.unavailable(OPTIONS)
        assert "is not made yet: `edgekit doctor --target NAME --install` makes it" in said
        with pytest.raises(UnmeasuredError, match=r"vela: the environment with ethos-u-vela 5\.2"):
            vela.connect(OPTIONS)
        with pytest.raises(UnmeasuredError, match="is not made yet"):
            vela.products(OPTIONS, Path("none.tflite"))
        with pytest.raises(UnmeasuredError, match="is not made yet"):
            vela.compiler(OPTIONS)

    def test_with_it(self) -> None:
        fake_environment()
        assert vela.unavailable(OPTIONS) == ""
        vela.install(OPTIONS, None)  # type: ignore[arg-type]  # It is there: nothing is shown.

    def test_a_config_that_is_not_there_or_no_config(self, tmp_path: Path) -> None:
        missing = dataclasses.replace(OPTIONS, config=str(tmp_path / "no.ini"))
        assert "no.ini': no such file; name an .ini file of Vela's" in vela.unavailable(missing)
        big = tmp_path / "big.ini"
        with big.open("wb") as file:
            file.truncate(1_000_001)
        said = vela.unavailable(dataclasses.replace(OPTIONS, config=str(big)))
        assert "big.ini': is larger than 1 MB" in said
        long = dataclasses.replace(OPTIONS, config="x" * 5000)
        assert vela.unavailable(long)

    def test_an_unknown_section_has_the_nearest_names(self, tmp_path: Path) -> None:
        fake_environment()
        wrong = dataclasses.replace(OPTIONS, system_config="Ethos_U66_Embedded")
        said = vela.unavailable(wrong)
        assert said.startswith("system_config 'Ethos_U66_Embedded': is no System_Config of Vela's")
        assert "did you mean 'Ethos_U65_Embedded'" in said
        wrong = dataclasses.replace(OPTIONS, memory_mode="Share_Sram")
        assert "memory_mode 'Share_Sram'" in vela.unavailable(wrong)
        own = tmp_path / "own.ini"
        own.write_text("[System_Config.Mine]\n[Memory_Mode.Shared_Sram]\n")
        mine = dataclasses.replace(OPTIONS, config=str(own))
        assert "known: Mine" in vela.unavailable(mine)
        assert vela.unavailable(dataclasses.replace(mine, system_config="Mine")) == ""

    def test_what_it_says_of_itself(self) -> None:
        assert vela.describe(OPTIONS) == (
            "compiled by Vela 5.2.0 for ethos-u55-128 (Ethos_U55_High_End_Embedded, Shared_Sram); "
            "not executed"
        )
        assert vela.untimed(OPTIONS) == "estimated by Vela: the NPU is not executed"


class TestServer:
    def test_partly_on_the_npu(self, model: Path) -> None:
        fake_environment(made=SOME, cpu_rows=1, log=REFUSED)
        session = opened(model, threads=1)
        try:
            placed = session.placement()
            outputs = session.run((np.array([[-5, 0, 5, 100]], np.int8),))
            told = figures(session)
        finally:
            session.close()
        assert [op.where for op in placed.ops] == ["Ethos-U55", "CPU"]
        assert placed.delegated == 0.5
        assert placed.ops[1].reason.startswith("Unsupported opType: ")
        assert placed.attempts[0].what == "Vela 5.2.0"
        assert session.facts["runtime"] == "reference kernels (the NPU is not executed)"
        assert outputs[0].tolist() == [[0, 0, 59, 127]]
        assert told["NPU time"] == (1792, "ns", "estimated"), "not the latency of the whole model"
        assert told["SRAM"] == (768, "bytes", "estimated")
        assert not {"latency", "memory"} & {*told}
        assert not list(Path(os.environ["EDGEKIT_CACHE"]).glob("vela/*/model.tflite"))

    def test_all_on_the_npu(self, model: Path) -> None:
        fake_environment()
        session = opened(model)
        try:
            assert session.placement().delegated == 1
            told = figures(session)
        finally:
            session.close()
        assert told["latency"] == (1792, "ns", "estimated")
        assert told["memory"] == (768, "bytes", "estimated")
        assert told["NPU cycles"] == (896, "cycles", "estimated")
        assert told["flash"] == (512, "bytes", "estimated")
        assert told["NPU MACs"] == (18432, "", "estimated")
        assert told["compiled model"][1:] == ("bytes", "measured")
        assert "DRAM" not in told, "this system has none"

    def test_nothing_on_the_npu_computes_nothing(self, model: Path) -> None:
        none = {**SUMMARY, "cycles_total": "0"}
        fake_environment(made=RELU_TANH, cpu_rows=2, log=REFUSED, summary=none)
        session = opened(model)
        try:
            assert session.placement().delegated == 0
            assert [*figures(session)] == ["compiled model"]
            with pytest.raises(UnmeasuredError, match=r"Vela 5\.2\.0 left all 2 ops on the CPU: "):
                session.run((np.zeros((1, 4), np.int8),))
        finally:
            session.close()
        assert vela.products(OPTIONS, model) == {}

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            ({"then": "os.abort()"}, "ethos: Vela 5.2.0 crashed with SIGABRT on this model"),
            ({"made": b""}, "ethos: Vela 5.2.0 left an empty file, whatever its exit code says"),
        ],
    )
    def test_a_compiler_that_fails(self, model: Path, how: dict[str, Any], said: str) -> None:
        fake_environment(**how)
        with pytest.raises(UnmeasuredError) as caught:
            opened(model)
        assert caught.value.message == said
        assert caught.value.hint

    def test_an_open_shape_is_refused_but_for_the_batch(self, tmp_path: Path) -> None:
        fake_environment()
        path = tmp_path / "open.tflite"
        path.write_bytes(chain(("RELU", "a"), ("TANH", "y"), signature=(1, -1)))
        with pytest.raises(UnmeasuredError, match=r"input 'x' has an open shape \(1, \?\)"):
            opened(path)
        path.write_bytes(chain(("RELU", "a"), ("TANH", "y"), signature=(-1, 4)))
        opened(path).close()

    def test_an_op_that_the_reference_kernels_lack(self, tmp_path: Path) -> None:
        fake_environment()
        path = tmp_path / "custom.tflite"
        path.write_bytes(chain(("MyOp", "y")))
        with pytest.raises(UnmeasuredError, match="the reference kernels, which stand for the NPU"):
            opened(path)

    def test_an_option_of_another_runtime(self, model: Path) -> None:
        fake_environment()
        with pytest.raises(UsageError, match="the option kernels is none for Vela"):
            opened(model, kernels="xnnpack")

    def test_products_are_what_vela_made(self, model: Path) -> None:
        fake_environment(made=SOME, cpu_rows=1)
        made = vela.products(OPTIONS, model)
        assert [*made] == ["model_vela.tflite", "vela-per-layer.csv", "vela-summary.csv"]
        assert made["model_vela.tflite"].read_bytes() == SOME
        assert all(path.stat().st_size for path in made.values())


@pytest.mark.parametrize(
    "name",
    [f"ethos-{one}" for one in ("u55-32", "u55-64", "u55-256", "u65-256", "u65-512", "u85-256")],
)
def test_every_target_compiles_a_convolution(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    spec = ready(name, request)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8_convolution())
    session = opened(path, spec)
    try:
        assert [op.where for op in session.placement().ops] == [spec.options.npu]
        told = figures(session)
        outputs = session.run((np.ones((2, 8, 8, 4), np.int8),))
    finally:
        session.close()
    assert told["latency"][0] > 100
    assert told["NPU MACs"][0] >= 8 * 8 * 8 * 9 * 4
    assert outputs[0].shape == (2, 8, 8, 8)
    target = load_target(name)
    assert target.limits.limits.min_delegated == 1
    assert "float32" not in target.dtypes
    assert any("not executed" in text for text in target.executed)
