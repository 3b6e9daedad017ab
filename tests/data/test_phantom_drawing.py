"""Findings show where they are said to be, and each in its own way."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cxrssl.core.labels import FINDINGS
from cxrssl.data.phantom.anatomy import draw_build
from cxrssl.data.phantom.lesions import Lesion
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import ImagePlan


def empty_plan(lesions: tuple[Lesion, ...]) -> ImagePlan:
    """Return a plan for one fixed healthy chest with some findings."""
    anatomy = draw_build(np.random.default_rng(0), aspect=1.1)
    plan = ImagePlan("a", 0, 300, 330, anatomy, lesions, (), ())
    for lesion in lesions:
        box: Any = tuple(lesion.box)
        if lesion.name == "Cardiomegaly":
            plan = replace(plan, anatomy=replace(anatomy, heart_box=box))
        if lesion.name == "Aortic enlargement":
            plan = replace(plan, anatomy=replace(anatomy, knob_box=box, knob_density=1.0))
    return plan


BOXES = {
    "Cardiomegaly": (0.37, 0.55, 0.80, 0.67),
    "Aortic enlargement": (0.54, 0.27, 0.68, 0.40),
    "Pleural effusion": (0.76, 0.60, 0.89, 0.75),
    "Pleural thickening": (0.20, 0.20, 0.30, 0.30),
    "Pneumothorax": (0.66, 0.25, 0.88, 0.55),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_the_image_inside_its_box(name: str) -> None:
    box = np.array(BOXES.get(name, (0.20, 0.35, 0.36, 0.50)))
    healthy = paint_image(empty_plan(()), 3)
    ill = paint_image(empty_plan((Lesion(name, box, 3, 1.0),)), 3)
    height, width = healthy.shape
    x0, y0, x1, y1 = (box * [width, height, width, height]).astype(int)
    change = np.abs(ill - healthy)
    inside = change[y0:y1, x0:x1].mean()
    change[y0:y1, x0:x1] = 0
    assert inside > 0.03
    assert inside > 8 * change.mean()


def test_each_finding_looks_different() -> None:
    box = np.array((0.20, 0.35, 0.36, 0.50))
    names = [name for name in FINDINGS if name not in BOXES]
    crops = []
    for name in names:
        image = paint_image(empty_plan((Lesion(name, box, 3, 1.0),)), 3)
        crops.append(image[120:160, 64:104])
    for i, first in enumerate(crops):
        for second in crops[:i]:
            assert np.abs(first - second).mean() > 0.02


def test_a_finding_of_the_readers_mind_is_not_drawn() -> None:
    lesion = Lesion("Nodule/Mass", np.array((0.2, 0.3, 0.3, 0.4)), 1, 0.0)
    np.testing.assert_array_equal(
        paint_image(empty_plan((lesion,)), 3), paint_image(empty_plan(()), 3)
    )
