"""Metrics of PP-OCR for `--task python:tools/bench/ocr_metrics.py:NAME`.

    detector_f1     F1 of text boxes at IoU 0.5, a page; labels (n, boxes, 5) of class (-1 where
                    there is no box), x0, y0, x1, y1 in pixels
    word_accuracy   words read without a mistake; labels (n, letters) of classes, filled with -1

The boxes of a page are found as in DB (Liao et al. 2020, "Real-time Scene Text Detection with
Differentiable Binarization"): connected regions of the probability map, grown by a fixed ratio.
"""

from __future__ import annotations

import numpy as np

__all__ = ["boxes_of", "detector_f1", "word_accuracy"]

TEXT, SURE = 0.3, 0.5
GROWN_BY = 1.6
SMALLEST = 3
OVERLAP = 0.5


def detector_f1(outputs, labels):
    """One F1 a page, of the first output: a probability map (n, 1, height, width)."""
    maps = np.asarray(outputs[0]).reshape(len(labels), *outputs[0].shape[-2:])
    pages = zip(maps, labels, strict=True)
    return np.array([page_f1(boxes_of(found), page[page[:, 0] >= 0, 1:]) for found, page in pages])


detector_f1.metric, detector_f1.is_share = "F1 at IoU 0.5", True


def word_accuracy(outputs, labels):
    """1 for each word that was read exactly, of the first output: (n, steps, classes) with blank 0.

    The last class is the space, which counts only inside a word.
    """
    best = np.asarray(outputs[0]).argmax(axis=-1)
    space = outputs[0].shape[-1] - 1
    pairs = zip(best, labels, strict=True)
    return np.array([read(steps, space) == [c for c in word if c >= 0] for steps, word in pairs])


word_accuracy.metric, word_accuracy.is_share = "word accuracy", True


def read(steps, space):
    """Greedy CTC decoding (Graves et al. 2006): repeats become one, then blanks go."""
    changed = np.concatenate([[True], steps[1:] != steps[:-1]])
    classes = [int(c) for c in steps[changed & (steps != 0)]]
    while classes and classes[-1] == space:
        classes.pop()
    while classes and classes[0] == space:
        del classes[0]
    return classes


def page_f1(found, true):
    """2 * matched / (found + true); each true box takes its first free match."""
    overlaps = iou(true, found) >= OVERLAP
    free, matched = np.ones(len(found), bool), 0
    for row in overlaps:
        hits = np.flatnonzero(row & free)
        if len(hits):
            free[hits[0]] = False
            matched += 1
    total = len(found) + len(true)
    return 2 * matched / total if total else 1.0


def iou(ours, theirs):
    """Intersection over union of every pair, (len(ours), len(theirs))."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    return common / np.maximum(sizes[0][:, None] + sizes[1][None, :] - common, 1e-9)


def boxes_of(probability):
    """The boxes (n, 4) of one map (height, width), in reading order of their first row."""
    is_text = probability > TEXT
    regions = connected(is_text)
    if not len(regions):
        return np.zeros((0, 4))
    kept = []
    for top, left, bottom, right in regions:
        height, width = bottom - top, right - left
        window = (slice(top, bottom), slice(left, right))
        if min(height, width) < SMALLEST or probability[window][is_text[window]].mean() < SURE:
            continue
        more = height * width * GROWN_BY / (2 * (height + width))
        kept.append((left - more, top - more, right + more, bottom + more))
    return np.array(kept, float).reshape(-1, 4)


def connected(mask):
    """(top, left, bottom, right) of each 8-connected region; runs of a row are joined with those
    of the row above that they touch (Rosenfeld and Pfaltz 1966)."""
    parents, boxes, above = [], [], []
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    for row in np.flatnonzero(mask.any(axis=1)):
        starts, ends = np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1)
        runs = []
        for left, right in zip(starts.tolist(), ends.tolist(), strict=True):
            own = len(parents)
            parents.append(own)
            boxes.append([int(row), left, int(row) + 1, right])
            for other_left, other_right, other in above:
                if other_left <= right and left <= other_right and other_row(boxes, other, row):
                    parents[root(parents, other)] = root(parents, own)
            runs.append((left, right, own))
        above = runs
    return merged(parents, boxes)


def other_row(boxes, other, row):
    """True where the run lies in the row right above: rows without text lie between others."""
    return boxes[other][0] == row - 1


def root(parents, item):
    """The region's first run, with the way to it made shorter."""
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = parents[item]
    return item


def merged(parents, boxes):
    """One box around all runs of each region."""
    found = {}
    for run, (top, left, bottom, right) in enumerate(boxes):
        box = found.setdefault(root(parents, run), [top, left, bottom, right])
        box[:] = (
            min(box[0], top),
            min(box[1], left),
            max(box[2], bottom),
            max(box[3], right),
        )
    return sorted(found.values())
