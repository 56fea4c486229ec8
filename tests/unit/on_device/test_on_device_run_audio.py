"""`run.py` makes features of sound, by a formula that is written out here."""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import runner


def read(path: Path, how: dict[str, Any], *shape: int) -> Any:
    spec = {"name": "x", "shape": [1, *shape], "dtype": "float32", "scale": None}
    (found,) = runner().Reader(how, {"scale": [1.0], "offset": [0.0]}, [spec]).read(str(path))
    return found


AUDIO = {
    "kind": "audio",
    "sample_rate": 8000,
    "window_ms": 30,
    "stride_ms": 20,
    "fft": 256,
    "mels": 20,
    "low_hz": 80,
    "high_hz": 3800,
    "coefficients": 0,
    "log_floor": 1e-6,
    "seconds": 0.5,
    "axes": "last",
}


def save(path: Path, sound: Any, width: int = 2, rate: int = 8000, channels: int = 1) -> Path:
    steps = np.rint(np.clip(sound, -1, 1 - 2.0 ** (1 - 8 * width)) * 2 ** (8 * width - 1))
    whole = (steps.astype("<i8") + (128 if width == 1 else 0)).view(np.uint8).reshape(-1, 8)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(whole[:, :width]).tobytes())
    return path


def features(sound: Any, coefficients: int) -> Any:
    """The formula, one number after another."""

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    rows = []
    edges = [mel(80) + i * (mel(3800) - mel(80)) / 21 for i in range(22)]
    for start in range(0, len(sound) - 240 + 1, 160):
        frame = np.zeros(256)
        for i in range(240):
            frame[i] = sound[start + i] * (0.5 - 0.5 * math.cos(2 * math.pi * i / 240))
        magnitude = np.abs(np.fft.fft(frame))[:129]
        row = []
        for m in range(20):
            low, centre, high = edges[m : m + 3]
            energy = 0.0
            for k in range(129):
                at = mel(k * 8000 / 256)
                energy += magnitude[k] * max(
                    0.0, min((at - low) / (centre - low), (high - at) / (high - centre))
                )
            row.append(math.log(max(energy, 1e-6)))
        rows.append(row)
    if not coefficients:
        return np.array(rows)
    return np.array(
        [
            [
                math.sqrt((1 if k == 0 else 2) / 20)
                * sum(row[n] * math.cos(math.pi * k * (2 * n + 1) / 40) for n in range(20))
                for k in range(coefficients)
            ]
            for row in rows
        ]
    )


@pytest.mark.parametrize("coefficients", [0, 10])
def test_sound_becomes_mel_energies_or_their_cepstrum(tmp_path: Path, coefficients: int) -> None:
    sound = np.rint(np.random.default_rng(9).normal(scale=0.2, size=4000) * 2**15) / 2**15
    how = {**AUDIO, "coefficients": coefficients}
    wanted = features(np.clip(sound, -1, 1), coefficients)
    found = read(save(tmp_path / "a.wav", sound), how, *wanted.shape, 1)
    assert found.shape == (1, 24, coefficients or 20, 1)
    assert np.allclose(found[0, ..., 0], wanted, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_sample_is_read(tmp_path: Path, width: int) -> None:
    sound = np.sin(np.arange(4000) / 5) * 0.7
    found = read(save(tmp_path / "a.wav", sound, width), AUDIO, 24, 20)
    tolerance = {1: 0.3, 2: 1e-2, 3: 1e-3, 4: 1e-3}[width]
    loud = features(sound, 0) > 0
    assert np.allclose(found[0][loud], features(sound, 0)[loud], atol=tolerance)


def test_stereo_is_averaged_and_length_is_made_to_fit(tmp_path: Path) -> None:
    sound = np.rint(np.random.default_rng(1).normal(scale=0.1, size=6000) * 2**15) / 2**15
    stereo = np.stack([sound, np.zeros(6000)], axis=1).reshape(-1)
    found = read(save(tmp_path / "a.wav", stereo, channels=2), AUDIO, 24, 20)
    assert np.allclose(found[0], features(sound[:4000] / 2, 0), atol=1e-4)
    short = read(save(tmp_path / "b.wav", sound[:1000]), AUDIO, 24, 20)
    padded = np.concatenate([sound[:1000], np.zeros(3000)])
    assert np.allclose(short[0], features(padded, 0), atol=1e-4)


def test_another_rate_is_resampled_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = np.arange(8000) / 16000
    path = save(tmp_path / "a.wav", np.sin(times * 2000), rate=16000)
    found = read(path, AUDIO, 24, 20)
    assert "from 16000 to 8000 Hz, linearly" in capsys.readouterr().err
    wanted = features(np.sin(np.arange(4000) / 8000 * 2000), 0)
    assert np.allclose(found[0][wanted > 0], wanted[wanted > 0], atol=0.05)


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises((wave.Error, EOFError)):
        read(tmp_path / "a.wav", AUDIO, 24, 20)
