"""Pasted findings: over no true box, in their area, with a soft rim, box and pixels together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cxrssl.core.images import Intensity
from cxrssl.data.cuts.paste import PasteRanges, Place, draw_place, is_small, number_of_pastes, paste
from cxrssl.data.detection import examples_of
from cxrssl.data.loaders import DetectionImages, Paste, paste_areas
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store

INTENSITY = Intensity(equalize=True, mean=0.5, std=0.25)
RANGES = PasteRanges(1.0, 3, (0.8, 1.2), 15.0)
BOX = np.array([40, 50, 60, 62], np.float32)
AREA = (10.0, 10.0, 118.0, 118.0)


def overlap(box: np.ndarray, others: np.ndarray) -> float:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.prod(np.clip(sides, 0, None), axis=1).max(initial=0))


def test_no_finding_is_pasted_over_truth_or_beyond_its_area() -> None:
    taken = np.array([[20, 20, 70, 110], [90, 30, 100, 60]], np.float32)
    places = [
        draw_place(BOX, taken, AREA, RANGES, np.random.default_rng(seed)) for seed in range(200)
    ]
    found = [place for place in places if place is not None]
    assert len(found) > 80
    for place in found:
        assert overlap(place.box, taken) == 0
        assert bool(np.all(place.box[:2] >= 10))
        assert bool(np.all(place.box[2:] <= 118))
    everywhere = np.array([[0, 0, 128, 128]], np.float32)
    assert draw_place(BOX, everywhere, AREA, RANGES, np.random.default_rng(0)) is None


def test_size_and_turn_are_within_the_ranges() -> None:
    upright = replace(RANGES, rotation_degrees=0.0)
    sides = [
        place.box[2:] - place.box[:2]
        for seed in range(80)
        if (
            place := draw_place(
                BOX, np.empty((0, 4), np.float32), AREA, upright, np.random.default_rng(seed)
            )
        )
    ]
    scales = np.array(sides) / (BOX[2:] - BOX[:2])
    assert np.allclose(scales[:, 0], scales[:, 1], atol=1e-4)
    assert 0.8 <= scales.min() < 0.85
    assert 1.15 < scales.max() <= 1.2


def test_the_finding_arrives_and_fades_out() -> None:
    finding = np.full((128, 128), 30, np.uint8)
    finding[50:62, 40:60] = 200
    place = draw_place(
        BOX,
        np.empty((0, 4), np.float32),
        AREA,
        replace(RANGES, scale=(1.0, 1.0), rotation_degrees=0.0),
        np.random.default_rng(3),
    )
    assert isinstance(place, Place)
    target = np.full((128, 128), 90, np.uint8)
    result = paste(target, finding, BOX, place)
    x0, y0, x1, y1 = np.rint(place.box).astype(int)
    assert np.abs(result[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].astype(int) - 200).max() <= 1
    around = result[y0 - 3 : y1 + 3, x0 - 3].astype(int)
    assert bool(np.all((around > 30) & (around < 90))), "the rim is between both films"
    assert int((result != 90).sum()) < (x1 - x0 + 10) * (y1 - y0 + 10)
    assert np.array_equal(target, np.full((128, 128), 90))


def test_small_is_by_the_longer_side() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 30]], np.float32)
    assert is_small(boxes, side_px=100, largest_side=0.2).tolist() == [True, False]


def test_how_many_are_pasted() -> None:
    counts = [number_of_pastes(RANGES, np.random.default_rng(seed)) for seed in range(60)]
    assert set(counts) == {1, 2, 3}
    never = replace(RANGES, probability=0.0)
    assert number_of_pastes(never, np.random.default_rng(0)) == 0


def test_pasted_findings_have_boxes_and_classes_in_the_batch(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    with_boxes = next(number for number, example in enumerate(examples) if len(example.boxes))
    finding = (with_boxes, 0)
    plain = DetectionImages(store, examples, INTENSITY, 0.0, 0)
    images = replace(plain, paste=Paste(RANGES, [finding], []))
    more = 0
    for row in range(len(examples)):
        pixels, target = images[Visit(0, row)]
        before, true = plain[Visit(0, row)]
        count = len(true["labels"])
        assert target["boxes"][:count].tolist() == true["boxes"].tolist()
        for box, label in zip(target["boxes"][count:], target["labels"][count:], strict=True):
            assert int(label) == examples[with_boxes].labels[0] + 1
            assert overlap(box.numpy(), true["boxes"].numpy()) == 0
            more += 1
        for box in true["boxes"].numpy():  # the rim stays off them, too, but for a pixel's part
            x0, y0, x1, y1 = *np.ceil(box[:2]).astype(int), *np.floor(box[2:]).astype(int)
            assert torch.equal(pixels[:, y0:y1, x0:x1], before[:, y0:y1, x0:x1])
        assert bool((pixels != before).any()) == (len(target["labels"]) > count)
    assert more > 10


def test_pasted_findings_lie_on_no_other_pasted_one(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    with_boxes = next(number for number, example in enumerate(examples) if len(example.boxes))
    many = Paste(replace(RANGES, most=8), [(with_boxes, 0)], [])
    images = DetectionImages(store, examples, INTENSITY, 0.0, 0, paste=many)
    pairs = 0
    for row, example in enumerate(examples):
        boxes = images[Visit(0, row)][1]["boxes"][len(example.boxes) :].numpy()
        for number in range(1, len(boxes)):
            assert overlap(boxes[number], boxes[:number]) == 0
            pairs += 1
    assert pairs > 10


def test_a_pasted_finding_keeps_its_own_class_among_those_of_its_film(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    number, box = next(
        (number, box)
        for number, example in enumerate(examples)
        for box in range(1, len(example.boxes))
        if example.labels[box] != example.labels[0]
    )
    paste_one = Paste(RANGES, [(number, box)], [])
    images = DetectionImages(store, examples, INTENSITY, 0.0, 0, paste=paste_one)
    labels = {
        int(label)
        for row, example in enumerate(examples)
        for label in images[Visit(0, row)][1]["labels"][len(example.boxes) :]
    }
    assert labels == {int(examples[number].labels[box]) + 1}


def test_findings_go_into_the_boxes_of_a_class_where_an_image_has_them(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    example = next(one for one in examples if len(one.boxes))
    label = int(example.labels[0])
    areas = paste_areas(store, example, [label])
    assert areas == [
        tuple(box) for box in example.boxes[example.labels == label].astype(float).tolist()
    ]
    side = store.manifest["size_px"]
    (middle,) = paste_areas(store, example, [])
    assert middle == pytest.approx((0.1 * side, 0.1 * side, 0.9 * side, 0.9 * side))
