"""Fixed boxes: by hand, and their AP as pycocotools has it."""

import numpy as np
import pytest

from cases import Case, make, pycoco
from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.prior import MOST_PER_CLASS, MOST_TRAINING_BOXES, FixedBoxes, fit_fixed_boxes


def fit(rows: list[tuple[int, int, list[float]]], *, num_images: int = 4) -> FixedBoxes:
    """Fit on rows of image, class and box in fractions."""
    return fit_fixed_boxes(
        np.array([image for image, _, _ in rows], np.int64),
        np.array([label for _, label, _ in rows], np.int64),
        np.array([box for _, _, box in rows], float).reshape(-1, 4),
        num_images=num_images,
        num_classes=2,
    )


LEFT = [0.1, 0.1, 0.3, 0.5]
NEAR_LEFT = [0.1, 0.1, 0.3, 0.48]
RIGHT = [0.6, 0.1, 0.8, 0.5]


def test_the_box_that_finds_most_comes_first_and_scores_its_hit_rate() -> None:
    rows = [(0, 0, NEAR_LEFT), (1, 0, LEFT), (2, 0, LEFT), (2, 0, RIGHT), (3, 1, RIGHT)]
    found = fit(rows)
    # LEFT overlaps NEAR_LEFT by 0.95, and so finds one box on three of four images.
    assert found.labels.tolist() == [0, 0, 1]
    assert found.boxes.tolist() == [LEFT, RIGHT, RIGHT]
    assert found.scores.tolist() == [3 / 4, 1 / 4, 1 / 4]
    assert (found.num_images, found.num_boxes, found.num_left_out) == (4, 5, 0)


def test_a_fixed_box_finds_one_box_of_an_image() -> None:
    # Two equal boxes on one image: the second takes a second fixed box.
    found = fit([(0, 0, LEFT), (0, 0, LEFT)])
    assert found.boxes.tolist() == [LEFT, LEFT]
    assert found.scores.tolist() == [1 / 4, 1 / 4]


def test_what_overlaps_by_0_4_and_less_is_not_found() -> None:
    wide = [0.0, 0.0, 0.5, 1.0]
    assert fit([(0, 0, wide), (1, 0, [0.0, 0.0, 0.19, 1.0])]).scores.tolist() == [1 / 4, 1 / 4]
    assert fit([(0, 0, wide), (1, 0, [0.0, 0.0, 0.21, 1.0])]).scores.tolist() == [2 / 4]


def test_there_are_at_most_so_many_of_a_class_and_none_of_an_absent_one() -> None:
    rows = [(n % 4, 0, [n / 40, 0.0, (n + 1) / 40, 1.0]) for n in range(30)]
    found = fit(rows)
    assert len(found.labels) == MOST_PER_CLASS
    assert set(found.labels.tolist()) == {0}
    assert len(fit([]).labels) == 0


def test_of_many_boxes_some_are_looked_at_and_stand_for_all() -> None:
    num = 2 * MOST_TRAINING_BOXES
    found = fit([(n, 0, LEFT) for n in range(num)], num_images=num)
    assert (found.num_boxes, found.num_left_out) == (num // 2, num // 2)
    assert found.scores.tolist() == [1.0]


def boxes_on(sizes: Floats, truth: list[tuple[int, int, list[float]]]) -> Case:
    """Return fixed boxes on images, beside true boxes in fractions."""
    train = [(0, 0, LEFT), (1, 0, LEFT), (2, 0, RIGHT), (3, 1, [0.2, 0.2, 0.9, 0.9])]
    detections = fit(train).on(sizes)
    columns = (detections.images, detections.labels, detections.boxes, detections.scores)
    rows = [(i, k, b, s) for i, k, b, s in zip(*(c.tolist() for c in columns), strict=True)]
    true = []
    for image, label, (x0, y0, x1, y1) in truth:
        width, height = sizes[image]
        true.append(
            (image, label, [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height])
        )
    return make(true, rows, num_images=len(sizes), num_classes=2)


def test_on_images_of_other_sizes_they_have_the_ap_that_pycocotools_computes() -> None:
    sizes = np.array([[512, 512], [300, 700], [900, 400]], float)
    truth = [
        (0, 0, LEFT), (1, 0, [0.1, 0.1, 0.3, 0.6]), (1, 0, RIGHT), (2, 1, [0.2, 0.3, 0.9, 0.9]),
    ]  # fmt: skip
    case = boxes_on(sizes, truth)
    overall = case.scores.overall
    reference = pycoco(case).stats
    assert 0 < overall["AP"] < 1
    assert overall["AP"] == pytest.approx(reference[0], abs=1e-9)
    assert overall["AP50"] == pytest.approx(reference[1], abs=1e-9)


def test_laid_on_an_image_they_are_fractions_of_its_sides() -> None:
    detections = fit([(0, 0, LEFT)]).on(np.array([[100, 200], [10, 10]], float))
    assert detections.images.tolist() == [0, 1]
    assert detections.boxes.tolist() == [
        pytest.approx([10, 20, 20, 80]),
        pytest.approx([1, 1, 2, 4]),
    ]
