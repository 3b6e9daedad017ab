"""The shipped numbers are the real table's, and the made annotations follow them."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrssl.core.labels import FINDINGS
from cxrssl.data.phantom.plan import ImagePlan, PhantomSettings, plan_image
from cxrssl.data.phantom.statistics import TRIO, load_statistics
from vindr_statistics import group_boxes, summarise

NUM_PLANS = 1200


@pytest.fixture(scope="module")
def plans() -> list[ImagePlan]:
    settings = PhantomSettings(seed=11, normal_share=0.0)
    return [plan_image(settings, index) for index in range(NUM_PLANS)]


def marks_by_class(plan: ImagePlan) -> dict[str, list[Any]]:
    """Return an image's marks by class name."""
    grouped = defaultdict(list)
    for mark in plan.marks:
        grouped[mark.name].append(mark)
    return grouped


@pytest.fixture(scope="module")
def fused_supports(plans: list[ImagePlan]) -> list[int]:
    supports = []
    for plan in plans:
        for marks in marks_by_class(plan).values():
            groups = group_boxes(np.array([mark.box_px for mark in marks], dtype=float))
            supports += [len({marks[i].reader for i in group}) for group in groups]
    return supports


def numbers(content: object) -> Iterator[float]:
    """Yield every number of a JSON value, in order."""
    if isinstance(content, dict):
        for value in content.values():
            yield from numbers(value)
    elif isinstance(content, list):
        for value in content:
            yield from numbers(value)
    elif isinstance(content, int | float):
        yield content


@pytest.mark.slow
def test_shipped_numbers_are_those_of_the_real_table() -> None:
    torchxrayvision = pytest.importorskip("torchxrayvision")
    pandas = pytest.importorskip("pandas")
    path = Path(torchxrayvision.__file__).parent / "data" / "vinbigdata-train.csv.gz"
    computed = summarise(pandas.read_csv(path))
    text = resources.files("cxrssl.data.phantom").joinpath("statistics.json").read_text("utf-8")
    shipped = json.loads(text)
    assert computed.keys() == shipped.keys()
    np.testing.assert_allclose(list(numbers(computed)), list(numbers(shipped)), atol=2e-4)


@pytest.mark.slow
def test_support_shares_are_near_the_real_ones(fused_supports: list[int]) -> None:
    shares = np.bincount(fused_supports, minlength=4)[1:] / len(fused_supports)
    np.testing.assert_allclose(shares, [0.540, 0.209, 0.250], atol=0.025)


def test_boxes_an_image_are_near_the_real_ones(
    plans: list[ImagePlan], fused_supports: list[int]
) -> None:
    assert len(fused_supports) / NUM_PLANS == pytest.approx(4.82, rel=0.04)
    assert sum(len(plan.marks) for plan in plans) / NUM_PLANS == pytest.approx(8.21, rel=0.04)


def test_class_shares_are_near_the_real_ones(plans: list[ImagePlan]) -> None:
    counts = Counter(name for plan in plans for name in {mark.name for mark in plan.marks})
    real = [statistics.image_fraction for statistics in load_statistics().classes]
    made = [counts[name] / NUM_PLANS for name in FINDINGS]
    np.testing.assert_allclose(made, real, atol=0.04)


def test_positions_are_near_the_real_ones(plans: list[ImagePlan]) -> None:
    boxes = defaultdict(list)
    for plan in plans:
        for lesion in plan.lesions:
            boxes[lesion.name].append(lesion.box)
    for statistics in load_statistics().classes:
        drawn = np.stack(boxes[statistics.name])
        centres = (drawn[:, :2] + drawn[:, 2:]) / 2
        real = sum(place.fraction * place.mean[:2] for place in statistics.places)
        np.testing.assert_allclose(centres.mean(axis=0), real, atol=0.07, err_msg=statistics.name)


def test_the_usual_readers_read_most_images_with_findings(plans: list[ImagePlan]) -> None:
    share = sum(plan.readers == TRIO for plan in plans) / NUM_PLANS
    assert share == pytest.approx(0.944, abs=0.02)


def test_a_finding_is_marked_by_as_many_readers_as_it_says(plans: list[ImagePlan]) -> None:
    for plan in plans[:200]:
        assert len(plan.marks) == sum(lesion.support for lesion in plan.lesions)
        assert {mark.reader for mark in plan.marks} <= set(plan.readers)


def test_about_a_quarter_of_lone_marks_are_invented(plans: list[ImagePlan]) -> None:
    lone = [lesion for plan in plans for lesion in plan.lesions if lesion.support == 1]
    invented = sum(lesion.strength == 0 for lesion in lone)
    assert invented / len(lone) == pytest.approx(0.25, abs=0.03)


def test_every_box_lies_inside_its_image(plans: list[ImagePlan]) -> None:
    seen = set()
    for plan in plans:
        for mark in plan.marks:
            x_min, y_min, x_max, y_max = mark.box_px
            assert 0 <= x_min < x_max <= plan.width_px
            assert 0 <= y_min < y_max <= plan.height_px
            seen.add(mark.name)
    assert seen == set(FINDINGS)


def test_image_shapes_are_those_of_real_radiographs(plans: list[ImagePlan]) -> None:
    ratios = np.array([plan.height_px / plan.width_px for plan in plans])
    assert ratios.min() > 0.89
    assert ratios.max() < 1.32
    assert all(min(plan.width_px, plan.height_px) >= 800 for plan in plans)
    assert all(max(plan.width_px, plan.height_px) <= 1200 for plan in plans)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_normal_images_have_the_share_asked_for(share: float) -> None:
    settings = PhantomSettings(seed=2, normal_share=share)
    normal = [not plan_image(settings, index).lesions for index in range(100)]
    assert np.mean(normal) == pytest.approx(share, abs=0.03)


def test_boxes_that_overlap_enough_are_one_group() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]], dtype=float)
    assert group_boxes(boxes) == [[0, 1], [2]]
