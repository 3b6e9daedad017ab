"""Random truth and detections, and what pycocotools says of them."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cxrssl.metrics.annotations import Detections, Floats, Integers, Truth
from cxrssl.metrics.scores import Scores, ScoreTable

HEADLINE = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
"""In the order of pycocotools' `stats`."""

# Sides of which two make exactly 32^2, 96^2 and what lies below, between and above.
_SIDES = (8, 16, 32, 64, 96, 144)
_AREAS = (32.0**2, 96.0**2, 32.0**2 - 1, 96.0**2 + 1, 5000.0)


@dataclass(frozen=True)
class Case:
    """Detections on images with truth."""

    truth: Truth
    detections: Detections

    @property
    def table(self) -> ScoreTable:
        return ScoreTable(self.truth, self.detections)

    @property
    def scores(self) -> Scores:
        """Of every image once."""
        return self.table(np.ones(self.truth.num_images))


# Of a true box: image, label, xywh. Of a detection: image, label, xywh, score.
TrueBox = tuple[int, int, Sequence[float]]
Detected = tuple[int, int, Sequence[float], float]


def make(
    truth: Sequence[TrueBox],
    detections: Sequence[Detected],
    *,
    num_images: int = 1,
    num_classes: int = 1,
    crowd: Sequence[bool] | None = None,
    areas: Sequence[float] | None = None,
    support: Sequence[int] | None = None,
) -> Case:
    """Make a case by hand; areas are those of the boxes, nothing is a crowd, one reader each."""
    boxes = np.array([box for _, _, box in truth], float).reshape(-1, 4)
    columns = {
        "images": np.array([image for image, _, _ in truth], np.int64),
        "labels": np.array([label for _, label, _ in truth], np.int64),
        "boxes": boxes,
        "areas": boxes[:, 2] * boxes[:, 3] if areas is None else np.array(areas, float),
        "crowd": np.zeros(len(boxes), bool) if crowd is None else np.array(crowd, bool),
        "support": np.ones(len(boxes), np.int64) if support is None else np.array(support),
    }
    order = np.argsort(columns["images"], kind="stable")
    sorted_truth = {name: column[order] for name, column in columns.items()}
    images = np.array([image for image, _, _, _ in detections], np.int64)
    unsorted = Detections(
        images,
        np.array([label for _, label, _, _ in detections], np.int64),
        np.array([box for _, _, box, _ in detections], float).reshape(-1, 4),
        np.array([score for _, _, _, score in detections], float),
    )
    by_image = np.argsort(images, kind="stable")
    return Case(
        Truth(**sorted_truth, num_images=num_images, num_classes=num_classes),
        pick(unsorted, by_image),
    )


def pick(detections: Detections, rows: Integers) -> Detections:
    """Return some rows of detections, in this order."""
    d = detections
    return Detections(d.images[rows], d.labels[rows], d.boxes[rows], d.scores[rows])


@dataclass(frozen=True)
class Kind:
    """What a random case is like.

    Attributes:
        whole: Small whole boxes, so that equal overlaps and overlaps at a threshold are common.
        rows: Equal boxes side by side, so that most detections lie midway between two.
        sized: Boxes of 32^2 and 96^2 px, areas that are not w*h, detections without an area.
        tied: Scores of one decimal, tied within and across images and classes.
        crowds: Share of true boxes that are crowds.
        num_images: With and without anything.
    """

    whole: bool = False
    rows: bool = False
    sized: bool = False
    tied: bool = False
    crowds: float = 0.0
    num_images: int = 14


KINDS = {
    "plain": Kind(),
    "tied": Kind(whole=True, tied=True),
    "crowds": Kind(whole=True, tied=True, crowds=0.3),
    "sized": Kind(sized=True, tied=True, crowds=0.1),
    "rows": Kind(rows=True, tied=True, crowds=0.1),
    "sparse": Kind(num_images=3, whole=True),
}


def random_case(kind: Kind, seed: int) -> Case:
    """Draw 5 classes, the last without truth and the one before without detections.

    Images without anything, and those with detections only, come by themselves.
    """
    rng = np.random.default_rng([seed, 77])
    truth, detections = [], []
    for image in range(kind.num_images):
        true_boxes = [
            (image, int(rng.integers(4)), _box(rng, kind)) for _ in range(rng.poisson(2.5))
        ]
        true_boxes = true_boxes if rng.random() < 0.7 else []
        truth += true_boxes
        for _ in range(rng.poisson(5)):
            label, box = int(rng.choice([0, 1, 2, 4])), _box(rng, kind)
            if true_boxes and rng.random() < 0.7:
                _, label, near = true_boxes[rng.integers(len(true_boxes))]
                label, box = 0 if label == 3 else label, _near(rng, kind, near)
            score = rng.integers(11) / 10 if kind.tied else rng.random()
            detections.append((image, label, box, float(score)))
    return make(
        truth,
        detections,
        num_images=kind.num_images,
        num_classes=5,
        crowd=rng.random(len(truth)) < kind.crowds,
        areas=_areas(rng, kind, truth),
        support=rng.integers(0, 5, len(truth)),
    )


def _areas(rng: np.random.Generator, kind: Kind, truth: list[TrueBox]) -> Floats:
    areas = np.array([box[2] * box[3] for _, _, box in truth], float)
    if kind.sized:
        return np.where(rng.random(len(areas)) < 0.4, rng.choice(_AREAS, len(areas)), areas)
    return areas


def _box(rng: np.random.Generator, kind: Kind) -> list[float]:
    if kind.rows:
        return [float(rng.integers(0, 9)), 0.0, 8.0, 8.0]
    if kind.sized:
        return [*rng.integers(0, 60, 2).tolist(), *rng.choice(_SIDES, 2).tolist()]
    if kind.whole:
        return [*rng.integers(0, 6, 2).tolist(), *rng.integers(1, 6, 2).tolist()]
    return [*rng.uniform(0, 60, 2).tolist(), *rng.uniform(5, 120, 2).tolist()]


def _near(rng: np.random.Generator, kind: Kind, box: Sequence[float]) -> list[float]:
    if kind.sized and rng.random() < 0.1:
        return [*box[:3], 0.0]
    if kind.rows:
        return [box[0] + float(rng.integers(-2, 3)), *box[1:]]
    if kind.whole or kind.sized:
        moved = np.array(box) + rng.integers(-1, 2, 4) * (rng.random(4) < 0.3)
        return [*moved[:2].tolist(), *np.maximum(moved[2:], 1).tolist()]
    return (np.array(box) * (1 + rng.normal(0, 0.12, 4))).tolist()


def spread_scores(case: Case, seed: int) -> Case:
    """Give scores that are tied across images but not within one."""
    rng = np.random.default_rng(seed)
    scores = np.empty(len(case.detections.scores))
    for image in range(case.truth.num_images):
        of_image = case.detections.images == image
        scores[of_image] = rng.permutation(32)[: of_image.sum()] / 32
    return replace(case, detections=replace(case.detections, scores=scores))


def repeated(case: Case, counts: Integers) -> Case:
    """Return a data set that holds image n `counts[n]` times."""
    truth, detections = case.truth, case.detections
    images = np.repeat(np.arange(truth.num_images), counts)
    rows = [np.flatnonzero(truth.images == image) for image in images]
    detection_rows = [np.flatnonzero(detections.images == image) for image in images]
    row = np.concatenate([*rows, []]).astype(np.int64)
    detection_row = np.concatenate([*detection_rows, []]).astype(np.int64)
    number = np.arange(len(images))
    return Case(
        Truth(
            np.repeat(number, [len(of_image) for of_image in rows]),
            *(column[row] for column in (truth.labels, truth.boxes, truth.areas)),
            *(column[row] for column in (truth.crowd, truth.support)),
            num_images=len(images),
            num_classes=truth.num_classes,
        ),
        replace(
            pick(detections, detection_row),
            images=np.repeat(number, [len(of_image) for of_image in detection_rows]),
        ),
    )


# Not on a grid of thousands of pixels: overlaps must tie, and be exactly 0.5 and 0.75.
_ANY_BOX = st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 4)] * 2)
_SMALL_BOX = _ANY_BOX | st.tuples(st.integers(0, 6), *[st.just(n) for n in (0, 6, 6)])
_TRUE = st.tuples(st.integers(0, 2), st.integers(0, 1), _SMALL_BOX, st.booleans())
_DETECTED = st.tuples(
    st.integers(0, 2), st.integers(0, 1), _SMALL_BOX, st.sampled_from([0.2, 0.5, 1])
)


@st.composite
def small_cases(draw: st.DrawFn, *, crowds: bool = True) -> Case:
    """Draw a few small whole boxes on three images, of two classes."""
    truth = draw(st.lists(_TRUE, max_size=8))
    return make(
        [true[:3] for true in truth],
        draw(st.lists(_DETECTED, max_size=12)),
        num_images=3,
        num_classes=2,
        crowd=[crowds and true[3] for true in truth],
    )


def coco_truth(case: Case) -> dict[str, list[dict[str, object]]]:
    """Return COCO's dict. Ids begin at 1: pycocotools takes a match with id 0 for none."""
    truth = case.truth
    columns = (truth.images, truth.labels, truth.boxes, truth.areas, truth.crowd)
    return {
        "images": [{"id": n + 1, "width": 512, "height": 512} for n in range(truth.num_images)],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(truth.num_classes)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": image + 1,
                "category_id": label + 1,
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for row, (image, label, box, area, crowd) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ],
    }


def coco_results(case: Case) -> list[dict[str, object]]:
    """Return COCO's results."""
    detections = case.detections
    columns = (detections.images, detections.labels, detections.boxes, detections.scores)
    return [
        {"image_id": image + 1, "category_id": label + 1, "bbox": box, "score": score}
        for image, label, box, score in zip(*(c.tolist() for c in columns), strict=True)
    ]


def pycoco(case: Case, **params: object) -> COCOeval:
    """Return pycocotools' evaluation; `params` are attributes of its own."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco_truth(case)
        truth.createIndex()
        results = coco_results(case)
        # It can't load an empty list.
        detections = truth.loadRes(results) if results else COCO()
        evaluation = COCOeval(truth, detections, "bbox")
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        if not params:
            evaluation.summarize()
    return evaluation


def mean_present(values: Floats) -> float:
    """Return the mean of values that are not -1, as pycocotools' `summarize`; -1 for none."""
    present = values[values > -1]
    return float(present.mean()) if present.size else -1.0


def as_coco(value: float) -> float:
    """Return -1 for what can't be computed, as COCO has it."""
    return -1.0 if np.isnan(value) else float(value)
