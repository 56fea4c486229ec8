"""T5: PP-OCRv4's detector and recogniser, pages with known boxes and pictures of known words."""

from __future__ import annotations

import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from data_minilm import sentences
from PIL import Image, ImageDraw, ImageFont

__all__ = ["make_ppocr"]

MODELS = "rapidocr_onnxruntime/models"
NAMES = ("ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx")
PAGES, PAGE = {"train": 1024, "test": 48}, 480
TRIES, MOST_BOXES = 40, 40
WORDS, HEIGHT, WIDTH = {"train": 1800, "test": 600}, 48, 320
LONGEST = 12
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the detector, on channels in the order blue, green, red."""


def make_ppocr(rapid: zipfile.ZipFile, vader: tarfile.TarFile, out: Path) -> None:
    """ppocr_det.onnx, ppocr_rec.onnx and the data of each; words come from movie reviews.

    Everything is drawn in Pillow's own font by seed, so that it is the same with the same Pillow.
    """
    for name, kind in zip(NAMES, ("det", "rec"), strict=True):
        (out / f"ppocr_{kind}.onnx").write_bytes(rapid.read(f"{MODELS}/{name}"))
    words = known_words(vader)
    write_pages(words, out / "ppocr_det.npz")
    write_words(words, alphabet(out / "ppocr_rec.onnx"), out / "ppocr_rec.npz")


def known_words(vader: tarfile.TarFile) -> list[str]:
    """Plain words of 3 to 12 letters, shuffled by seed."""
    found = {
        word.strip(".,!?;:\"()'")
        for _, text in sentences(vader, "movieReviewSnippets")
        for word in text.split()
    }
    words = sorted(w for w in found if 3 <= len(w) <= LONGEST and w.isascii() and w.isalnum())
    random.Random(0).shuffle(words)
    return words


def write_pages(words: list[str], path: Path) -> None:
    """x (n,3,480,480) of 0..255, blue first; y (n,40,5) of class (-1: no box), x0, y0, x1, y1.

    The model takes (x / 255 - MEAN) / STD, a mean and deviation for each channel.
    """
    drawing, arrays, first = random.Random(1), {}, 0
    for part, count in PAGES.items():
        x = np.empty((count, 3, PAGE, PAGE), np.uint8)
        y = np.full((count, MOST_BOXES, 5), -1, np.float32)
        for row in range(count):
            taken = [words[(first + i) % len(words)] for i in range(TRIES)]
            first += TRIES
            pixels, boxes = page(taken, drawing)
            x[row] = pixels[..., ::-1].transpose(2, 0, 1)
            y[row, : len(boxes)] = [(0, *box) for box in boxes]
        arrays |= {f"x_{part}": x, f"y_{part}": y}
    np.savez(path, **arrays)  # Not compressed, so that it is read by memory map.


def page(words: list[str], drawing: random.Random) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """One page: those of the words that found a free place on a blurred background of colours."""
    image = Image.fromarray(background(drawing))
    canvas, boxes = ImageDraw.Draw(image), []
    for word in words:
        font = ImageFont.load_default(drawing.randint(18, 34))
        at = drawing.randint(8, PAGE - 120), drawing.randint(8, PAGE - 50)
        box = tuple(int(side) for side in canvas.textbbox(at, word, font=font))
        if box[2] > PAGE - 5 or box[3] > PAGE - 5 or any(touches(box, other) for other in boxes):
            continue
        canvas.text(at, word, fill=(drawing.randint(0, 60),) * 3, font=font)
        boxes.append(box)
    return np.asarray(image), boxes


def background(drawing: random.Random) -> np.ndarray:
    """Soft colours with fine grain, between 150 and 240, as a photograph that was made pale."""
    random_state = np.random.RandomState(drawing.randrange(2**32))
    cells = int(random_state.randint(3, 40))
    coarse = Image.fromarray(random_state.randint(0, 256, (cells, cells, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((PAGE, PAGE), Image.Resampling.BICUBIC), np.float32)
    grain = random_state.randn(PAGE, PAGE, 1) * 8
    return np.clip((soft + grain) * 0.35 + 150, 0, 255).astype(np.uint8)


def touches(box: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """True where a detector would read the two as one word."""
    apart = box[2] + 18 < other[0] or other[2] + 18 < box[0]
    return not (apart or box[3] + 12 < other[1] or other[3] + 12 < box[1])


def alphabet(model: Path) -> dict[str, int]:
    """The class of each character: 0 is the blank, then those that the model's metadata lists."""
    import onnx

    metadata = onnx.load(model).metadata_props
    listed = next(item.value for item in metadata if item.key == "character")
    return {char: number for number, char in enumerate(listed.splitlines(), 1)}


def write_words(words: list[str], classes: dict[str, int], path: Path) -> None:
    """x (n,3,48,320) of 0..255 (the model takes x / 127.5 - 1); y (n,12) classes, filled with -1.

    No word is in both parts.
    """
    arrays, first = {}, 0
    for part, count in WORDS.items():
        own = words[first : first + count]
        y = np.full((count, LONGEST), -1, np.int32)
        for row, word in enumerate(own):
            y[row, : len(word)] = [classes[char] for char in word]
        pictures = [picture(word, first + row) for row, word in enumerate(own)]
        arrays |= {f"x_{part}": np.stack(pictures), f"y_{part}": y}
        first += count
    np.savez_compressed(path, **arrays)


def picture(word: str, number: int) -> np.ndarray:
    """(3,48,320): noisy, dark on light, filled up with the middle grey on the right."""
    random_state = np.random.RandomState(number)
    font = ImageFont.load_default(36)
    left, top, right, bottom = (int(side) for side in font.getbbox(word))
    paper, ink = int(random_state.randint(200, 256)), int(random_state.randint(0, 91))
    image = Image.new("RGB", (right - left + 24, bottom - top + 20), (paper,) * 3)
    ImageDraw.Draw(image).text((12 - left, 10 - top), word, fill=(ink,) * 3, font=font)
    noisy = np.asarray(image, np.float32) + random_state.randn(image.height, image.width, 3) * 12
    clean = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    width = min(WIDTH, -(-HEIGHT * image.width // image.height))
    small = np.asarray(clean.resize((width, HEIGHT), Image.Resampling.BILINEAR))
    filled = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
    filled[:, :width] = small[..., ::-1]
    return filled.transpose(2, 0, 1)
