"""`run.py` makes of an image exactly what edgekit's own image data is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_folder import runner
from PIL import Image

from edgekit.datasets._image_frame import Frame
from edgekit.datasets.images import _read

_PLAIN: dict[str, Any] = {"kind": "image", "height": 12, "width": 10, "axes": "last"}
_SCALING = {"scale": [1.0], "offset": [0.0]}


def image_of(mode: str) -> Image.Image:
    rng = np.random.default_rng(5)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (20, 15), np.uint16))
    if mode in ("L", "1", "P", "RGB", "RGBA"):
        shape = (20, 15, len(mode)) if mode.startswith("RGB") else (20, 15)
        made = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        return made.convert(mode) if mode in ("1", "P") else made
    raise AssertionError(mode)


def both(path: Path, channels: int, how: dict[str, Any]) -> tuple[Any, Any]:
    """What edgekit reads and what run.py does."""
    full = {**_PLAIN, "channels": channels, "resize": "stretch", "order": "rgb", **how}
    words = {key: full[key] for key in Frame.__dataclass_fields__}
    frame = Frame(**words)
    spec = {"name": "x", "shape": [1, *frame.shape], "dtype": "float32", "scale": None}
    (found,) = runner().Reader(full, _SCALING, [spec]).read(str(path))
    return _read(path, frame)[None], found


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_of_image(tmp_path: Path, mode: str, channels: int) -> None:
    image_of(mode).save(tmp_path / "a.png")
    wanted, found = both(tmp_path / "a.png", channels, {})
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("how", [{"resize": "crop"}, {"resize": "pad"}, {"order": "bgr"}])
@pytest.mark.parametrize("axes", ["last", "first"])
def test_every_way_to_fit(tmp_path: Path, how: dict[str, Any], axes: str) -> None:
    image_of("RGB").save(tmp_path / "a.png")
    wanted, found = both(tmp_path / "a.png", 3, {**how, "axes": axes})
    assert np.array_equal(found, wanted)


def test_without_a_channel_axis_and_at_its_own_size(tmp_path: Path) -> None:
    image_of("L").resize((10, 12)).save(tmp_path / "a.png")
    wanted, found = both(tmp_path / "a.png", 1, {"axes": "none"})
    assert found.shape == (1, 12, 10)
    assert np.array_equal(found, wanted)


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image_of("RGB").save(tmp_path / "a.jpg", exif=exif)
    wanted, found = both(tmp_path / "a.jpg", 3, {})
    assert np.array_equal(found, wanted)


def test_levels_are_what_black_and_white_are(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.uint8([0, 51, 102, 204, 255]), (12, 2))).save(tmp_path / "a.png")
    _, found = both(tmp_path / "a.png", 1, {"levels": [0.0, 16.0]})
    assert np.allclose(found[0, 0, :5, 0], [0, 3.2, 6.4, 12.8, 16])


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(Exception, match="cannot identify image file"):
        both(tmp_path / "a.png", 1, {})
    Image.new("RGB", (9, 9)).save(tmp_path / "a.eps")
    with pytest.raises(runner().Fault, match="is no PNG, JPEG"):
        both(tmp_path / "a.eps", 1, {})


def test_pillow_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "PIL", None)
    spec = {"name": "x", "shape": [1, 12, 10, 1], "dtype": "float32", "scale": None}
    reader = runner().Reader({**_PLAIN, "channels": 1}, _SCALING, [spec])
    with pytest.raises(runner().Fault, match="images need Pillow") as caught:
        reader.read("a.png")
    assert (caught.value.code, "apt install python3-pil" in caught.value.hint) == (3, True)
