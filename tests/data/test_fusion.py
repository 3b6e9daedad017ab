"""Consensus: independent of the order of its input, idempotent, inside the hull, class by class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrssl.core.boxes import iou_matrix
from cxrssl.data.fusion import Consensus, consensus

IOU = 0.2


@st.composite
def marks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    number = draw(st.integers(0, 9))
    corners = draw(
        st.lists(
            st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 30)] * 2),
            min_size=number,
            max_size=number,
        )
    )
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], dtype=np.float64)
    labels = draw(st.lists(st.integers(0, 2), min_size=number, max_size=number))
    readers = draw(st.lists(st.sampled_from(["R1", "R2", "R3"]), min_size=number, max_size=number))
    return boxes.reshape(-1, 4), np.array(labels, dtype=np.int64), np.array(readers, dtype=str)


def same(first: Consensus, second: Consensus) -> bool:
    return (
        np.array_equal(first.boxes, second.boxes)
        and np.array_equal(first.labels, second.labels)
        and np.array_equal(first.support, second.support)
    )


def test_three_readers_boxes_become_their_mean_with_support_three() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10], [50, 50, 60, 60]], float)
    found = consensus(boxes, np.array([4, 4, 4, 4]), np.array(["R8", "R9", "R10", "R9"]), iou=IOU)
    assert found.boxes.tolist() == [[1, 0, 11, 10], [50, 50, 60, 60]]
    assert found.support.tolist() == [3, 1]


def test_one_reader_drawing_twice_counts_once() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10]], float)
    found = consensus(boxes, np.array([0, 0]), np.array(["R8", "R8"]), iou=IOU)
    assert found.support.tolist() == [1]


def test_classes_never_mix() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], float)
    found = consensus(boxes, np.array([0, 1]), np.array(["R8", "R9"]), iou=IOU)
    assert found.labels.tolist() == [0, 1]


@settings(max_examples=150, deadline=None)
@given(marks(), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_boxes(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], random: object
) -> None:
    boxes, labels, readers = drawn
    order = list(range(len(boxes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = consensus(boxes[order], labels[order], readers[order], iou=IOU)
    assert same(consensus(boxes, labels, readers, iou=IOU), shuffled)


@settings(max_examples=100, deadline=None)
@given(marks())
def test_fused_boxes_overlap_too_little_to_fuse_again(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    boxes, labels, readers = drawn
    found = consensus(boxes, labels, readers, iou=IOU)
    same_class = found.labels[:, None] == found.labels[None, :]
    overlap = np.triu(iou_matrix(found.boxes, found.boxes), k=1) * same_class
    assert overlap.max(initial=0.0) <= IOU


@settings(max_examples=100, deadline=None)
@given(marks())
def test_fused_boxes_stay_inside_the_hull_of_their_class(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    boxes, labels, readers = drawn
    found = consensus(boxes, labels, readers, iou=IOU)
    assert set(found.labels.tolist()) == set(labels.tolist())
    for box, label in zip(found.boxes, found.labels, strict=True):
        own = boxes[labels == label]
        assert (box >= own.min(axis=0) - 1e-9).all()
        assert (box <= own.max(axis=0) + 1e-9).all()


def test_nothing_drawn_gives_nothing() -> None:
    found = consensus(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, str), iou=IOU)
    assert found.boxes.shape == (0, 4)


def test_a_lower_threshold_merges_what_a_higher_one_keeps_apart() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], float)  # overlap 1/3
    readers = np.array(["R8", "R9"])
    counts = [len(consensus(boxes, np.zeros(2, int), readers, iou=i).boxes) for i in (0.3, 0.35)]
    assert counts == [1, 2]
    assert iou_matrix(boxes[:1], boxes[1:])[0, 0] == pytest.approx(1 / 3)
