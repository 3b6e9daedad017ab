"""Matches equal pycocotools' image by image, and a slow transcription of PASCAL VOC's rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from cases import KINDS, Case, make, pycoco, random_case, small_cases
from cxrssl.metrics import matching
from cxrssl.metrics.annotations import overlaps
from cxrssl.metrics.matching import Matches, Rules, match

IOUS = np.array([0.4, 0.5, 0.75, 1.0])
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
LEFT, MIDDLE, RIGHT = [0, 0, 10, 10], [2, 0, 10, 10], [4, 0, 10, 10]
PART_OF_RIGHT = [7, 0, 10, 10]

many_random = pytest.mark.parametrize("seed", range(5))
of_each_kind = pytest.mark.parametrize("kind", KINDS)


def coco_rules(case: Case) -> Rules:
    """Return pycocotools' four areas at `IOUS`."""
    ignored = [(case.truth.areas < low) | (case.truth.areas > high) for low, high in AREAS]
    return Rules(
        ious=np.tile(IOUS, 4),
        is_voc=np.zeros(16, bool),
        part=np.repeat(range(4), 4),
        ignored=np.stack(ignored) | case.truth.crowd,
        areas_px2=AREAS,
    )


def voc_rules(case: Case) -> Rules:
    return Rules(IOUS, np.ones(4, bool), np.zeros(4, np.int64), case.truth.crowd[None], AREAS[:1])


def named(matches: Matches) -> dict[tuple[int, int], bool]:
    """Return whether the box counts, by rule and row of the detection; each has one match."""
    rows = matches.ranked.rows[matches.detection].tolist()
    keys = list(zip(matches.rule.tolist(), rows, strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, matches.is_true.tolist(), strict=True))


def by_coco(case: Case) -> dict[tuple[int, int], bool]:
    matches = {}
    evaluation = pycoco(case, iouThrs=IOUS)
    areas = [tuple(area) for area in evaluation.params.areaRng]
    for image in filter(None, evaluation.evalImgs):
        first_rule = 4 * areas.index(tuple(image["aRng"]))
        for iou, column in zip(*np.nonzero(image["dtMatches"]), strict=True):
            ignored = bool(image["dtIgnore"][iou, column])
            matches[first_rule + int(iou), image["dtIds"][column] - 1] = not ignored
    return matches


def by_voc(case: Case) -> dict[tuple[int, int], bool]:
    """Transcribe VOCevaldet.m: the nearest box, the first of equals, found once.

    A crowd is nearest only where no box that counts is near enough.
    """
    truth, detections = case.truth, case.detections
    matches = {}
    for rule, least in enumerate(IOUS):
        taken: set[int] = set()
        for row in np.argsort(-detections.scores, kind="stable").tolist():
            candidates = []
            for true in range(len(truth.images)):
                true_group = (truth.images[true], truth.labels[true])
                iou = overlaps(detections.boxes[[row]], truth.boxes[[true]], truth.crowd[[true]])[0]
                if true_group == (detections.images[row], detections.labels[row]) and iou >= least:
                    candidates.append((truth.crowd[true], -iou, true))
            if not candidates:
                continue
            nearest = min(candidates)[2]
            if truth.crowd[nearest]:
                matches[rule, row] = False
            elif nearest not in taken:
                matches[rule, row] = True
                taken.add(nearest)
    return matches


def matches_of(case: Case, rules: Rules, *, most: int = 100, by_class: bool = True) -> Matches:
    return match(case.truth, case.detections, rules, most=most, by_class=by_class)


@many_random
@of_each_kind
def test_matches_equal_pycocotools(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    assert named(matches_of(case, coco_rules(case))) == by_coco(case)


@settings(deadline=None, max_examples=60)
@given(case=small_cases())
def test_matches_of_small_whole_boxes_equal_pycocotools(case: Case) -> None:
    assert named(matches_of(case, coco_rules(case))) == by_coco(case)


@settings(deadline=None, max_examples=60)
@given(case=small_cases())
def test_matches_of_small_whole_boxes_equal_voc_s_rule(case: Case) -> None:
    assert named(matches_of(case, voc_rules(case))) == by_voc(case)


@pytest.mark.parametrize("block", [1, 7, 50])
@of_each_kind
def test_matches_do_not_depend_on_how_many_pairs_are_held_at_once(
    kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = random_case(KINDS[kind], 2)
    all_rules = [coco_rules(case), voc_rules(case)]
    before = [matches_of(case, rules) for rules in all_rules]
    scores = case.scores.overall
    monkeypatch.setattr(matching, "_BLOCK_PAIRS", block)
    for rules, unblocked in zip(all_rules, before, strict=True):
        assert named(matches_of(case, rules)) == named(unblocked)
        assert matches_of(case, rules).best_overlap.tolist() == unblocked.best_overlap.tolist()
    assert case.scores.overall == pytest.approx(scores, abs=0, rel=0, nan_ok=True)


def test_pairs_are_held_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(KINDS["crowds"], 2)
    block_sizes = []
    original = matching.overlaps

    def counting(*columns: np.ndarray) -> np.ndarray:
        block_sizes.append(len(columns[0]))
        return original(*columns)

    monkeypatch.setattr(matching, "overlaps", counting)
    matches_of(case, coco_rules(case))
    in_one = block_sizes.pop()
    monkeypatch.setattr(matching, "_BLOCK_PAIRS", 1)
    matches_of(case, coco_rules(case))
    assert max(block_sizes) < in_one == sum(block_sizes)


def test_a_detection_exactly_on_its_box_matches_at_an_overlap_of_one() -> None:
    # In float64 the first overlap is a little less than 1.
    boxes = [[100.1, 0.2, 3.3, 0.7], [3.3, 1 / 3, 6.6, 0.1], [5, 5, 2, 2]]
    case = make([(0, 0, box) for box in boxes], [(0, 0, box, 0.5) for box in boxes])
    assert matches_of(case, coco_rules(case)).best_overlap.min() < 1
    at_one = [
        row
        for (rule, row), is_true in named(matches_of(case, coco_rules(case))).items()
        if rule == 3
    ]
    assert sorted(at_one) == [0, 1, 2]


def test_the_strongest_of_a_kind_take_part() -> None:
    scores = [0.1, 0.9, 0.5, 0.5, 0.7]
    detections = [(n // 4, 0, LEFT, score) for n, score in enumerate(scores)]
    detections += [(0, 1, LEFT, 0.95)]
    case = make([(0, 0, LEFT)], detections, num_images=2, num_classes=2)
    rules = coco_rules(case)
    by_class = matches_of(case, rules, most=2).ranked
    # By image and class; the equal 0.5 in the order of the rows. Row 4 is the other class's.
    assert by_class.rows.tolist() == [1, 2, 4, 5]
    assert by_class.rank.tolist() == [0, 1, 0, 0]
    assert by_class.rows[by_class.by_score].tolist() == [4, 1, 5, 2]
    any_class = matches_of(case, rules, most=2, by_class=False).ranked
    assert any_class.rows.tolist() == [4, 1, 5]


def test_boxes_of_another_class_or_image_are_never_found() -> None:
    case = make(
        [(0, 0, LEFT), (1, 1, LEFT)], [(0, 1, LEFT, 0.5), (1, 0, LEFT, 0.5)], num_images=2,
        num_classes=2,
    )  # fmt: skip
    assert named(matches_of(case, coco_rules(case))) == {}
    assert len(named(matches_of(case, coco_rules(case), by_class=False))) > 0
    assert matches_of(case, coco_rules(case)).best_overlap.tolist() == [0, 0]


FLOAT_BOX = st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(0, 50)] * 2)
WHOLE_BOX = st.tuples(*[st.integers(0, 6)] * 4)
PAIRS = st.lists(
    st.tuples(FLOAT_BOX | WHOLE_BOX, FLOAT_BOX | WHOLE_BOX, st.booleans()), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=60)
@given(pairs=PAIRS)
def test_overlaps_equal_pycocotools_to_the_last_bit(
    pairs: list[tuple[tuple[float, ...], tuple[float, ...], bool]],
) -> None:
    detections, true_boxes, crowd = (list(column) for column in zip(*pairs, strict=True))
    ours = overlaps(np.array(detections, float), np.array(true_boxes, float), np.array(crowd))
    theirs = mask.iou(np.array(detections, float), np.array(true_boxes, float), crowd)
    assert ours.tolist() == np.diagonal(theirs).tolist()
