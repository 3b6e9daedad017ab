"""Fusion: against a slow reference, against ensemble-boxes, and by the rules each policy keeps."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from ensemble_boxes import weighted_boxes_fusion
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrssl.core.boxes import iou_matrix
from cxrssl.core.errors import DataError
from cxrssl.data.fusion import (
    MAX_BOXES_PER_CLASS,
    Fused,
    Marks,
    crowded_images,
    fuse,
    linkage,
    reader_array,
    reader_of,
)

IOU = 0.2
POLICIES = ("consensus", "wbf", "union", "majority:2", "single:R2")


def drawn(*rows: tuple[list[float], int, str, int]) -> Marks:
    """Return marks of (box, class, reader, image)."""
    boxes, labels, readers, images = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Marks(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(readers, np.str_),
        np.array(images, np.int64),
    )


@st.composite
def tables(draw: st.DrawFn) -> Marks:
    """Draw up to 24 marks, crowded enough that many overlap and some tie."""
    side, place = st.integers(1, 30), st.integers(0, 40)
    row = st.tuples(
        st.tuples(place, place, side, side),
        st.integers(0, 2),
        st.sampled_from(["R1", "R2", "R3"]),
        st.integers(0, 2),
    )
    rows = draw(st.lists(row, max_size=24))
    return drawn(
        *(
            ([x, y, x + width, y + height], label, reader, image)
            for (x, y, width, height), label, reader, image in rows
        )
    )


def are_equal(first: Fused, second: Fused) -> bool:
    fields = ("boxes", "labels", "support", "images")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in fields)


def members(fused: Fused, box: int) -> np.ndarray:
    """Return the rows of the marks behind one box."""
    return np.flatnonzero(fused.box_of_mark == box)


def shuffled(marks: Marks, order: list[int]) -> Marks:
    return Marks(marks.boxes[order], marks.labels[order], marks.readers[order], marks.images[order])


def merged_one_by_one(boxes: np.ndarray, *, iou: float) -> list[list[float]]:
    """Merge the boxes of one class of one image, the plain way."""
    groups = [[box] for box in sorted(boxes.tolist())]
    while len(groups) > 1:
        means = np.array([np.mean(group, axis=0) for group in groups])
        overlap = np.triu(iou_matrix(means, means), k=1)
        first, second = divmod(int(overlap.argmax()), len(groups))
        if overlap[first, second] <= iou:
            break
        groups[first] = sorted(groups[first] + groups.pop(second))
    return sorted(np.mean(group, axis=0).tolist() for group in groups)


@settings(max_examples=200, deadline=None)
@given(tables(), st.sampled_from([0.1, 0.2, 0.5]))
def test_consensus_equals_the_plain_merging_of_each_class_of_each_image(
    marks: Marks, iou: float
) -> None:
    fused = fuse(marks, policy="consensus", iou=iou)
    for image in range(3):
        for label in range(3):
            mask = (marks.images == image) & (marks.labels == label)
            mine = (fused.images == image) & (fused.labels == label)
            assert fused.boxes[mine].tolist() == merged_one_by_one(marks.boxes[mask], iou=iou)


@settings(max_examples=200, deadline=None)
@given(tables(), st.sampled_from([0.1, 0.2, 0.55]))
def test_wbf_equals_ensemble_boxes_image_by_image_bit_for_bit(marks: Marks, iou: float) -> None:
    fused = fuse(marks, policy="wbf", iou=iou)
    scale = 2.0 ** np.ceil(np.log2(max(1.0, marks.boxes.max(initial=0.0))))
    for image in range(3):
        mask, mine = marks.images == image, fused.images == image
        kinds = np.unique(marks.labels[mask])
        by_class = [marks.boxes[mask & (marks.labels == kind)] / scale for kind in kinds]
        boxes, _, labels = weighted_boxes_fusion(
            by_class,
            [np.ones(len(part)) for part in by_class],
            [np.full(len(part), kind) for part, kind in zip(by_class, kinds, strict=True)],
            iou_thr=iou,
        )
        theirs = sorted(zip(labels.tolist(), (boxes * scale).tolist(), strict=True))
        ours = zip(fused.labels[mine].tolist(), fused.boxes[mine].tolist(), strict=True)
        assert theirs == list(ours)


@settings(max_examples=150, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_any_order_of_rows_gives_the_same_consensus(marks: Marks, random: object) -> None:
    order = list(range(len(marks)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first = fuse(marks, policy="consensus", iou=IOU)
    second = fuse(shuffled(marks, order), policy="consensus", iou=IOU)
    assert are_equal(first, second)
    assert [marks.boxes[members(first, box)].sum() for box in range(len(first.boxes))] == [
        pytest.approx(shuffled(marks, order).boxes[members(second, box)].sum())
        for box in range(len(first.boxes))
    ]


def test_the_order_of_rows_does_matter_to_wbf() -> None:
    rows = [([x, 0, x + 10, 10], 0, "R1", 0) for x in (0, 5, 10)]
    counts = {
        len(fuse(drawn(*(rows[i] for i in order)), policy="wbf", iou=0.3).boxes)
        for order in ((0, 1, 2), (0, 2, 1))
    }
    assert counts == {2}
    boxes = [
        fuse(drawn(*(rows[i] for i in order)), policy="wbf", iou=0.3).boxes.tolist()
        for order in ((0, 1, 2), (2, 1, 0))
    ]
    assert boxes[0] != boxes[1]


@settings(max_examples=100, deadline=None)
@given(tables())
def test_fusing_a_consensus_again_changes_nothing(marks: Marks) -> None:
    once = fuse(marks, policy="consensus", iou=IOU)
    readers = np.full(len(once.boxes), "R1")
    again = fuse(Marks(once.boxes, once.labels, readers, once.images), policy="consensus", iou=IOU)
    assert np.array_equal(once.boxes, again.boxes)
    assert np.array_equal(once.labels, again.labels)


@settings(max_examples=100, deadline=None)
@given(tables(), st.sampled_from(POLICIES))
def test_every_box_lies_in_the_hull_of_its_members_who_are_of_its_class_and_image(
    marks: Marks, policy: str
) -> None:
    fused = fuse(marks, policy=policy, iou=IOU)
    for row, box in enumerate(fused.boxes):
        rows = members(fused, row)
        assert len(rows) >= 1
        assert set(marks.labels[rows]) == {fused.labels[row]}
        assert set(marks.images[rows]) == {fused.images[row]}
        drawn_boxes = marks.boxes[rows]
        assert (box >= drawn_boxes.min(axis=0) - 1e-4).all()
        assert (box <= drawn_boxes.max(axis=0) + 1e-4).all()


@settings(max_examples=100, deadline=None)
@given(tables())
def test_support_counts_the_readers_among_the_members_of_a_consensus(marks: Marks) -> None:
    fused = fuse(marks, policy="consensus", iou=IOU)
    counted = [len(set(marks.readers[members(fused, row)])) for row in range(len(fused.boxes))]
    assert fused.support.tolist() == counted
    assert sorted(np.concatenate([members(fused, row) for row in range(len(counted))] or [[]])) == (
        list(range(len(marks)))
    )


@settings(max_examples=100, deadline=None)
@given(tables())
def test_support_under_wbf_counts_the_readers_whose_boxes_overlap_the_fused_one(
    marks: Marks,
) -> None:
    fused = fuse(marks, policy="wbf", iou=IOU)
    for row, box in enumerate(fused.boxes):
        mask = (marks.labels == fused.labels[row]) & (marks.images == fused.images[row])
        over = iou_matrix(box[None], marks.boxes[mask])[0] > IOU
        assert fused.support[row] == max(1, len(set(marks.readers[mask][over])))


@settings(max_examples=100, deadline=None)
@given(tables())
def test_a_majority_keeps_the_consensus_boxes_that_so_many_readers_drew(marks: Marks) -> None:
    consensus = fuse(marks, policy="consensus", iou=IOU)
    sets = [fuse(marks, policy=f"majority:{least}", iou=IOU) for least in (1, 2, 3)]
    assert are_equal(sets[0], consensus)
    for least, fused in enumerate(sets, start=1):
        assert fused.boxes.tolist() == consensus.boxes[consensus.support >= least].tolist()
        for row, box in enumerate(fused.box_of_mark):
            expected = consensus.boxes[consensus.box_of_mark[row]]
            enough = consensus.support[consensus.box_of_mark[row]] >= least
            assert (box >= 0) == enough
            assert not enough or np.array_equal(fused.boxes[box], expected)
    assert all(len(fewer.boxes) <= len(more.boxes) for more, fewer in pairwise(sets))


@settings(max_examples=50, deadline=None)
@given(tables())
def test_union_and_single_keep_boxes_as_they_were_drawn(marks: Marks) -> None:
    union, single = (fuse(marks, policy=policy, iou=IOU) for policy in ("union", "single:R2"))
    assert sorted(union.boxes.tolist()) == sorted(marks.boxes.tolist())
    assert set(union.support.tolist()) <= {1}
    mask = marks.readers == "R2"
    assert sorted(single.boxes.tolist()) == sorted(marks.boxes[mask].tolist())
    assert ((single.box_of_mark >= 0) == mask).all()
    for fused in (union, single):
        is_kept = fused.box_of_mark >= 0
        assert np.array_equal(fused.boxes[fused.box_of_mark[is_kept]], marks.boxes[is_kept])


def test_three_readers_boxes_become_their_mean_with_support_three() -> None:
    marks = drawn(
        ([0, 0, 10, 10], 4, "R8", 7),
        ([1, 0, 11, 10], 4, "R9", 7),
        ([2, 0, 12, 10], 4, "R10", 7),
        ([50, 50, 60, 60], 4, "R9", 7),
        ([0, 0, 10, 10], 5, "R9", 7),
        ([0, 0, 10, 10], 4, "R9", 8),
    )
    for policy in ("consensus", "wbf"):
        fused = fuse(marks, policy=policy, iou=IOU)
        assert fused.boxes.tolist() == [
            [1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 10, 10], [0, 0, 10, 10],
        ]  # fmt: skip
        assert fused.support.tolist() == [3, 1, 1, 1]
        assert fused.images.tolist() == [7, 7, 7, 8]
        assert fused.box_of_mark.tolist() == [0, 0, 0, 1, 2, 3]
        assert members(fused, 0).tolist() == [0, 1, 2]


def test_one_reader_drawing_twice_counts_once() -> None:
    marks = drawn(([0, 0, 10, 10], 0, "R8", 0), ([1, 0, 11, 10], 0, "R8", 0))
    for policy in ("consensus", "wbf"):
        assert fuse(marks, policy=policy, iou=IOU).support.tolist() == [1]


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_drawn_gives_nothing(policy: str) -> None:
    fused = fuse(drawn(), policy=policy, iou=IOU)
    assert fused.boxes.shape == (0, 4)
    assert len(fused.box_of_mark) == 0


def test_a_lower_threshold_merges_what_a_higher_one_keeps_apart() -> None:
    marks = drawn(([0, 0, 10, 10], 0, "R8", 0), ([5, 0, 15, 10], 0, "R9", 0))  # overlap 1/3
    for policy in ("consensus", "wbf"):
        assert [len(fuse(marks, policy=policy, iou=iou).boxes) for iou in (0.3, 0.35)] == [1, 2]


@pytest.mark.parametrize("policy", ["nms", "majority", "majority:0", "single:", "wbf:2", ""])
def test_an_unknown_policy_is_refused_with_the_choices(policy: str) -> None:
    with pytest.raises(DataError, match=r"is unknown; expected consensus, wbf, union, majority:K"):
        fuse(drawn(), policy=policy, iou=IOU)
    assert reader_of("single:R9") == "R9"
    assert reader_of("wbf") is None


@pytest.mark.parametrize("box", [[5, 0, 5, 9], [0, 0, float("nan"), 9], [9, 0, 1, 9]])
def test_boxes_without_an_area_are_refused(box: list[float]) -> None:
    with pytest.raises(DataError, match=r"1 box\(es\) without an area, the first"):
        drawn((box, 0, "R1", 0))


def crowd(count: int, *, image: int) -> Marks:
    """Return boxes of one class in one image, far apart."""
    corners = np.arange(count, dtype=np.float64)[:, None] * 10
    return Marks(
        np.concatenate([corners, corners, corners + 5, corners + 5], axis=1),
        np.zeros(count, np.int64),
        np.array(["R1"] * count),
        np.full(count, image, np.int64),
    )


def test_a_crowd_of_one_class_is_refused_before_memory_is_asked_for() -> None:
    assert len(fuse(crowd(MAX_BOXES_PER_CLASS, image=3), policy="wbf", iou=IOU).boxes) == 1000
    many = crowd(500_000, image=3)  # every box with every other would be 1.8 TiB
    tracemalloc.start()
    for policy in ("consensus", "wbf", "majority:2"):
        with pytest.raises(DataError, match=r"1 image\(s\) have more than 1,000 boxes of one cla"):
            fuse(many, policy=policy, iou=IOU)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    assert len(fuse(crowd(2000, image=0), policy="union", iou=IOU).boxes) == 2000
    assert crowded_images(np.array([4, 5, *[7] * 1001]), np.array([0] * 1003)).tolist() == [7]


def test_many_images_are_merged_some_at_a_time_with_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = np.random.default_rng(0)
    corners = chance.uniform(0, 30, (400, 2))
    marks = Marks(
        np.concatenate([corners, corners + chance.uniform(5, 20, (400, 2))], axis=1),
        chance.integers(0, 2, 400),
        np.array([f"R{number}" for number in chance.integers(0, 3, 400)]),
        np.arange(400) // 8,
    )
    consensus = fuse(marks, policy="consensus", iou=IOU)
    monkeypatch.setattr(linkage, "_MAX_PAIRS", 30)
    parts = fuse(marks, policy="consensus", iou=IOU)
    assert are_equal(consensus, parts)
    assert np.array_equal(consensus.box_of_mark, parts.box_of_mark)


def test_a_readers_id_of_megabytes_takes_no_room_for_each_box() -> None:
    with pytest.raises(DataError, match=r"a reader's id has 10,000,000 characters; at most 200"):
        reader_array(["R1"] * 100_000 + ["R" * 10_000_000])
    assert reader_array([]).dtype.kind == "U"
