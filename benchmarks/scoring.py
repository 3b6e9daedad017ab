"""All scores of a test set against pycocotools, torchmetrics, faster-coco-eval and hotcoco.

880 images with 100 detections each, 14 classes: the size of VinDr-CXR's test split. Every round
runs each of them once, one after another, on the same arrays and on the same files; ratios are of
medians. Then 1,000 bootstrap replicates against ONE evaluation of pycocotools, and time and memory
for 10,000, 30,000 and 100,000 images, each in a process of its own.

Run: python benchmarks/scoring.py [--rounds 5] [--sizes 10000 30000 100000]
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.metrics.annotations import Detections, Truth
from cxrssl.metrics.bootstrap import draws, strata_of
from cxrssl.metrics.scores import ScoreTable

NUM_IMAGES, NUM_CLASSES, PER_IMAGE, REPLICATES = 880, 14, 100, 1000
TWELVE = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
FASTER, LONGER, GIGABYTES = 35.0, 3.0, 4.0
"""What was asked for: times faster than pycocotools, times as long for 1,000 replicates, memory."""


def boxes(generator: np.random.Generator, num: int) -> np.ndarray:
    """Return random boxes."""
    sides = np.exp(generator.normal(4, 0.7, (num, 2))).clip(8, 300)
    return np.concatenate([generator.uniform(0, 400, (num, 2)), sides], axis=1)


def true_boxes(num_images: int, *, seed: int) -> Truth:
    """Return three true boxes an image on average, classes as unequal as 1, 1/2, ... 1/K."""
    generator = np.random.default_rng([seed, 0])
    images = np.repeat(np.arange(num_images), generator.poisson(3, num_images))
    weights = 1 / np.arange(1, NUM_CLASSES + 1)
    labels = generator.choice(NUM_CLASSES, len(images), p=weights / weights.sum())
    true, nothing = boxes(generator, len(images)).round(2), np.zeros(len(images), np.int64)
    areas = true[:, 2] * true[:, 3]
    return Truth(images, labels, true, areas, nothing > 0, nothing, num_images, NUM_CLASSES)


def detections(truth: Truth, *, seed: int, per_image: int = PER_IMAGE) -> Detections:
    """Return detections, a tenth of them near a true box; another seed is another detector."""
    generator = np.random.default_rng([seed, 1])
    num_true = np.bincount(truth.images, minlength=truth.num_images)
    images = np.repeat(np.arange(truth.num_images), per_image)
    found, labels = boxes(generator, len(images)), generator.integers(0, NUM_CLASSES, len(images))
    near = np.flatnonzero((generator.random(len(images)) < 0.1) & (num_true[images] > 0))
    starts, own = np.cumsum(num_true) - num_true, images[near]
    which = starts[own] + (generator.random(len(near)) * num_true[own]).astype(np.int64)
    found[near] = truth.boxes[which]
    found[near, :2] += generator.normal(0, 0.12, (len(near), 2)) * truth.boxes[which, 2:]
    found[near, 2:] *= np.exp(generator.normal(0, 0.15, (len(near), 2)))
    labels[near] = truth.labels[which]
    scores = generator.beta(1, 6, len(images))
    scores[near] = generator.beta(2, 3, len(near))
    return Detections(images, labels, found.round(2), scores.round(5))


def made(num_images: int, *, seed: int = 0) -> tuple[Truth, Detections]:
    """Return a test set with what a detector finds in it."""
    truth = true_boxes(num_images, seed=seed)
    return truth, detections(truth, seed=seed)


def as_files(truth: Truth, found: Detections, folder: Path) -> tuple[Path, Path]:
    """Write COCO files and return their paths."""
    document = {
        "images": [{"id": n, "width": 512, "height": 512} for n in range(truth.num_images)],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(NUM_CLASSES)],
        "annotations": [
            {
                "id": row + 1, "image_id": image, "category_id": label + 1, "bbox": box,
                "area": area, "iscrowd": 0,
            }
            for row, (image, label, box, area) in enumerate(
                zip(
                    truth.images.tolist(), truth.labels.tolist(), truth.boxes.tolist(),
                    truth.areas.tolist(), strict=True,
                )
            )
        ],
    }  # fmt: skip
    results = [
        {"image_id": image, "category_id": label + 1, "bbox": box, "score": score}
        for image, label, box, score in zip(
            found.images.tolist(), found.labels.tolist(), found.boxes.tolist(),
            found.scores.tolist(), strict=True,
        )
    ]  # fmt: skip
    paths = folder / "truth.json", folder / "results.json"
    for path, content in zip(paths, (document, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def peers(
    truth: Truth, found: Detections, paths: tuple[Path, Path]
) -> dict[str, Callable[[], list[float]]]:
    """Return what each does, from arrays or files to the twelve numbers of COCO."""
    import faster_coco_eval
    import hotcoco
    import torch
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from torchmetrics.detection import MeanAveragePrecision

    from cxrssl.data.coco.files import read_annotations, read_results
    from cxrssl.evaluate.inputs import as_detections, inputs_of_file

    rows = np.column_stack([found.images, found.boxes, found.scores, found.labels + 1])

    def by_image(boxes: np.ndarray, labels: np.ndarray, images: np.ndarray) -> list[dict[str, Any]]:
        corners = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1))
        ends = np.searchsorted(images, np.arange(truth.num_images + 1))
        numbers = torch.from_numpy(labels)
        return [{"boxes": corners[a:b], "labels": numbers[a:b]} for a, b in pairwise(ends)]

    predicted = by_image(found.boxes, found.labels, found.images)
    for entry, scores in zip(predicted, found.scores.reshape(-1, PER_IMAGE), strict=True):
        entry["scores"] = torch.from_numpy(scores.copy())
    targets = by_image(truth.boxes, truth.labels, truth.images)

    def coco(kind: Any, judge: Any, results: Any) -> list[float]:  # noqa: ANN401 - four libraries' own
        with contextlib.redirect_stdout(io.StringIO()):
            true = kind(str(paths[0]))
            evaluation = judge(true, true.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats[:12]]

    def torchmetrics_() -> list[float]:
        metric = MeanAveragePrecision(backend="faster_coco_eval")
        metric.warn_on_many_detections = False
        metric.update(predicted, targets)
        values = metric.compute()
        names = (
            "map",
            "map_50",
            "map_75",
            "map_small",
            "map_medium",
            "map_large",
            "mar_1",
            "mar_10",
        )
        names += ("mar_100", "mar_small", "mar_medium", "mar_large")
        return [float(values[name]) for name in names]

    def ours(truth: Truth, found: Detections) -> list[float]:
        overall = ScoreTable(truth, found)(np.ones(truth.num_images)).overall
        return [overall[name] for name in TWELVE]

    def ours_from_files() -> list[float]:
        index, boxes = read_annotations(paths[0])
        inputs = inputs_of_file(index, boxes, None)
        results, _ = read_results(paths[1], index)
        return ours(inputs.truth, as_detections(results))

    file = str(paths[1])
    return {
        "pycocotools, arrays": lambda: coco(COCO, COCOeval, rows.copy()),
        "cxrssl, arrays": lambda: ours(truth, found),
        "torchmetrics, arrays": torchmetrics_,
        "pycocotools, files": lambda: coco(COCO, COCOeval, file),
        "cxrssl, files": ours_from_files,
        "faster-coco-eval, files": lambda: coco(
            faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster, file
        ),
        "hotcoco, files": lambda: coco(hotcoco.COCO, hotcoco.COCOeval, file),
    }


def bootstrapped(truth: Truth, found: Detections, replicates: int) -> None:
    """Compute every score on every draw, the match table among it."""
    table = ScoreTable(truth, found)
    for weights in draws(strata_of(truth.holds), replicates=replicates, seed=0):
        table(weights)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(rounds: int, num_images: int, replicates: int) -> bool:
    """Print times and ratios, and return whether they are what was asked for."""
    truth, found = made(num_images)
    with tempfile.TemporaryDirectory() as folder:
        work = peers(truth, found, as_files(truth, found, Path(folder)))
        values = {name: run() for name, run in work.items()}  # and the first, slow call of each
        reference = np.array(values["pycocotools, files"])
        for name, own in values.items():
            print(f"{name:26} differs from pycocotools by {np.abs(own - reference).max():.1e}")
        seconds: dict[str, list[float]] = {name: [] for name in [*work, "replicates"]}
        for _ in range(rounds):
            for name, run in work.items():
                seconds[name].append(timed(run))
            seconds["replicates"].append(timed(lambda: bootstrapped(truth, found, replicates)))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"\n{num_images} images, {PER_IMAGE} detections each, median of {rounds}; every score for"
    )
    print("cxrssl, the twelve of COCO for the others")
    for name in work:
        against = middle[f"pycocotools, {name.split(', ')[1]}"] / middle[name]
        print(f"{name:26} {middle[name]:8.3f} s   {against:6.1f}x as fast as pycocotools")
    ratio = middle["replicates"] / middle["pycocotools, arrays"]
    print(
        f"{replicates} replicates           {middle['replicates']:8.3f} s   {ratio:6.2f}x as long"
    )
    faster = middle["pycocotools, arrays"] / middle["cxrssl, arrays"]
    return faster >= FASTER and ratio <= LONGER


def measure(num_images: int) -> None:
    """Print what one size takes, as JSON."""
    truth, found = made(num_images)
    before = peak_kib()
    begin = time.perf_counter()
    table = ScoreTable(truth, found)
    ones = np.ones(num_images)
    table(ones)
    seconds = time.perf_counter() - begin
    replicate = timed(lambda: table(next(draws(strata_of(truth.holds), replicates=1, seed=0))))
    print(json.dumps({"s": seconds, "replicate_s": replicate, "input": before, "peak": peak_kib()}))


def peak_kib() -> int:
    """Return the most memory that this process has held; `getrusage` has its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def scale(sizes: list[int]) -> bool:
    """Print time and memory by number of images, and return whether memory is within bounds."""
    within = True
    print("\nimages      all scores   us an image   one replicate   peak memory (input)")
    for size in sizes:
        command = [sys.executable, __file__, "--measure", str(size)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        own = json.loads(done.stdout)
        peak, inputs = own["peak"] / 2**20, own["input"] / 2**20
        within &= peak < GIGABYTES
        each = own["s"] / size * 1e6
        print(
            f"{size:<10} {own['s']:9.2f} s   {each:11.0f}   {own['replicate_s']:11.2f} s"
            f"   {peak:8.2f} GB ({inputs:.2f})"
        )
    return within


def main() -> None:
    """Print everything, and end with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    inputs = parser.parse_args()
    if inputs.measure:
        measure(inputs.measure)
        return
    num_images, replicates = NUM_IMAGES, REPLICATES
    if inputs.smallest:
        inputs.rounds, inputs.sizes, num_images, replicates = 1, [50], 50, 5
    fast, small = compare(inputs.rounds, num_images, replicates), scale(inputs.sizes)
    print(f"\n{FASTER:.0f}x as fast, replicates {LONGER:.0f}x as long: {'yes' if fast else 'NO'}")
    print(f"under {GIGABYTES:.0f} GB: {'yes' if small else 'NO'}")
    raise SystemExit(0 if inputs.smallest or (fast and small) else 1)


if __name__ == "__main__":
    main()
