"""Matches equal pycocotools' image by image, and a slow transcription of PASCAL VOC's rule."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from cases import KINDS, Case, Found, make, pycoco, random_case, small_cases
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
    outside = [(case.truth.areas < low) | (case.truth.areas > high) for low, high in AREAS]
    return Rules(
        ious=np.tile(IOUS, 4),
        nearest=np.zeros(16, bool),
        part=np.repeat(range(4), 4),
        ignored=np.stack(outside) | case.truth.crowd,
        areas_px2=AREAS,
    )


def voc_rules(case: Case) -> Rules:
    return Rules(IOUS, np.ones(4, bool), np.zeros(4, np.int64), case.truth.crowd[None], AREAS[:1])


def named(matches: Matches) -> dict[tuple[int, int], bool]:
    """Return whether the box counts, by rule and row of the detection; each has one match."""
    rows = matches.ranked.rows[matches.place].tolist()
    keys = list(zip(matches.rule.tolist(), rows, strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, matches.is_true.tolist(), strict=True))


def by_coco(case: Case) -> dict[tuple[int, int], bool]:
    found = {}
    evaluation = pycoco(case, iouThrs=IOUS)
    areas = [tuple(area) for area in evaluation.params.areaRng]
    for image in filter(None, evaluation.evalImgs):
        first_rule = 4 * areas.index(tuple(image["aRng"]))
        for iou, place in zip(*np.nonzero(image["dtMatches"]), strict=True):
            ignored = bool(image["dtIgnore"][iou, place])
            found[first_rule + int(iou), image["dtIds"][place] - 1] = not ignored
    return found


def by_voc(case: Case) -> dict[tuple[int, int], bool]:
    """Transcribe VOCevaldet.m: the nearest box, the first of equals, found once.

    A crowd is nearest only where no box that counts is near enough.
    """
    truth, found = case.truth, case.found
    matches = {}
    for rule, least in enumerate(IOUS):
        taken: set[int] = set()
        for row in np.argsort(-found.scores, kind="stable").tolist():
            near = []
            for true in range(len(truth.images)):
                own = (truth.images[true], truth.labels[true])
                iou = overlaps(found.boxes[[row]], truth.boxes[[true]], truth.crowd[[true]])[0]
                if own == (found.images[row], found.labels[row]) and iou >= least:
                    near.append((truth.crowd[true], -iou, true))
            if not near:
                continue
            nearest = min(near)[2]
            if truth.crowd[nearest]:
                matches[rule, row] = False
            elif nearest not in taken:
                matches[rule, row] = True
                taken.add(nearest)
    return matches


def of(case: Case, rules: Rules, *, most: int = 100, by_class: bool = True) -> Matches:
    return match(case.truth, case.found, rules, most=most, by_class=by_class)


@many_random
@of_each_kind
def test_matches_equal_pycocotools(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    assert named(of(case, coco_rules(case))) == by_coco(case)


@settings(deadline=None, max_examples=60)
@given(case=small_cases())
def test_matches_of_small_whole_boxes_equal_pycocotools(case: Case) -> None:
    assert named(of(case, coco_rules(case))) == by_coco(case)


@settings(deadline=None, max_examples=60)
@given(case=small_cases())
def test_matches_of_small_whole_boxes_equal_voc_s_rule(case: Case) -> None:
    assert named(of(case, voc_rules(case))) == by_voc(case)


@pytest.mark.parametrize("block", [1, 7, 50])
@of_each_kind
def test_matches_do_not_depend_on_how_many_pairs_are_held_at_once(
    kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = random_case(KINDS[kind], 2)
    both = [coco_rules(case), voc_rules(case)]
    before = [of(case, rules) for rules in both]
    scores = case.scores.overall
    monkeypatch.setattr(matching, "_BLOCK_PAIRS", block)
    for rules, one in zip(both, before, strict=True):
        assert named(of(case, rules)) == named(one)
        assert of(case, rules).best_overlap.tolist() == one.best_overlap.tolist()
    assert case.scores.overall == pytest.approx(scores, abs=0, rel=0, nan_ok=True)


def test_pairs_are_held_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(KINDS["crowds"], 2)
    most = []
    whole = matching.overlaps

    def counting(*columns: np.ndarray) -> np.ndarray:
        most.append(len(columns[0]))
        return whole(*columns)

    monkeypatch.setattr(matching, "overlaps", counting)
    of(case, coco_rules(case))
    in_one = most.pop()
    monkeypatch.setattr(matching, "_BLOCK_PAIRS", 1)
    of(case, coco_rules(case))
    assert max(most) < in_one == sum(most)


def recalls(truth: list[list[float]], found: list[list[float]]) -> dict[str, float]:
    """Return how many of one image's boxes are found, the detections being given by strength."""
    rows: list[Found] = [(0, 0, box, 1 - n / 10) for n, box in enumerate(found)]
    case = make([(0, 0, box) for box in truth], rows)
    coco, voc = named(of(case, coco_rules(case))), named(of(case, voc_rules(case)))
    return {
        "coco": sum(is_true for (rule, _), is_true in coco.items() if rule == 0),
        "voc": sum(is_true for (rule, _), is_true in voc.items() if rule == 0),
    }


def test_of_equal_overlaps_coco_takes_the_last_box_and_voc_the_first() -> None:
    # The first detection lies midway; the second reaches the right box alone.
    assert recalls([LEFT, RIGHT], [MIDDLE, PART_OF_RIGHT]) == {"coco": 1, "voc": 2}
    assert recalls([RIGHT, LEFT], [MIDDLE, PART_OF_RIGHT]) == {"coco": 2, "voc": 1}


def test_a_detection_on_a_found_box_takes_a_free_one_by_coco_only() -> None:
    assert recalls([LEFT, MIDDLE], [LEFT, LEFT]) == {"coco": 2, "voc": 1}


def test_a_box_is_found_once() -> None:
    assert recalls([LEFT], [LEFT, LEFT, MIDDLE]) == {"coco": 1, "voc": 1}


def test_a_box_that_counts_comes_before_a_nearer_one_that_does_not() -> None:
    case = make([(0, 0, MIDDLE), (0, 0, LEFT)], [(0, 0, LEFT, 0.5)], crowd=[False, True])
    for rules in (coco_rules(case), voc_rules(case)):
        assert named(of(case, rules))[0, 0] is True


def test_a_crowd_excuses_any_number_of_detections() -> None:
    found = [(0, 0, LEFT, 0.1 * n) for n in range(5)]
    case = make([(0, 0, [0, 0, 30, 30])], found, crowd=[True])
    for rules in (coco_rules(case), voc_rules(case)):
        matches = named(of(case, rules))
        assert {row for rule, row in matches if rule == 0} == set(range(5))
        assert not any(matches.values())


def test_a_detection_exactly_on_its_box_matches_at_an_overlap_of_one() -> None:
    # In float64 the first overlap is a little less than 1.
    boxes = [[100.1, 0.2, 3.3, 0.7], [3.3, 1 / 3, 6.6, 0.1], [5, 5, 2, 2]]
    case = make([(0, 0, box) for box in boxes], [(0, 0, box, 0.5) for box in boxes])
    assert of(case, coco_rules(case)).best_overlap.min() < 1
    at_one = [
        row for (rule, row), is_true in named(of(case, coco_rules(case))).items() if rule == 3
    ]
    assert sorted(at_one) == [0, 1, 2]


def test_the_strongest_of_a_kind_take_part() -> None:
    scores = [0.1, 0.9, 0.5, 0.5, 0.7]
    found = [(n // 4, 0, LEFT, score) for n, score in enumerate(scores)]
    found += [(0, 1, LEFT, 0.95)]
    case = make([(0, 0, LEFT)], found, num_images=2, num_classes=2)
    rules = coco_rules(case)
    by_class = of(case, rules, most=2).ranked
    # By image and class; the equal 0.5 in the order of the rows. Row 4 is the other class's.
    assert by_class.rows.tolist() == [1, 2, 4, 5]
    assert by_class.rank.tolist() == [0, 1, 0, 0]
    assert by_class.rows[by_class.by_score].tolist() == [4, 1, 5, 2]
    whatever = of(case, rules, most=2, by_class=False).ranked
    assert whatever.rows.tolist() == [4, 1, 5]


def test_equal_scores_go_class_by_class_whatever_the_class() -> None:
    found = [(0, label, LEFT, 0.5) for label in (2, 0, 1, 0)]
    case = make([(0, 0, LEFT)], found, num_classes=3)
    assert of(case, coco_rules(case), by_class=False).ranked.rows.tolist() == [1, 3, 2, 0]


def test_boxes_of_another_class_or_image_are_never_found() -> None:
    case = make(
        [(0, 0, LEFT), (1, 1, LEFT)], [(0, 1, LEFT, 0.5), (1, 0, LEFT, 0.5)], num_images=2,
        num_classes=2,
    )  # fmt: skip
    assert named(of(case, coco_rules(case))) == {}
    assert len(named(of(case, coco_rules(case), by_class=False))) > 0
    assert of(case, coco_rules(case)).best_overlap.tolist() == [0, 0]


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
    found, true, crowd = (list(column) for column in zip(*pairs, strict=True))
    ours = overlaps(np.array(found, float), np.array(true, float), np.array(crowd))
    theirs = mask.iou(np.array(found, float), np.array(true, float), crowd)
    assert ours.tolist() == np.diagonal(theirs).tolist()


def test_the_order_of_an_image_s_detections_changes_no_match() -> None:
    case = random_case(replace(KINDS["plain"], crowds=0.2), 3)
    order = np.lexsort((case.found.boxes[:, 0], case.found.images))
    assert (order != np.arange(len(order))).any()
    found = case.found
    columns = (found.images, found.labels, found.boxes, found.scores)
    other = Case(case.truth, type(found)(*(column[order] for column in columns)))
    again = named(of(other, coco_rules(case)))
    renamed = {(rule, int(order[row])): is_true for (rule, row), is_true in again.items()}
    assert renamed == named(of(case, coco_rules(case)))
