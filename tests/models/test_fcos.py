"""FCOS is torchvision's own: same weights, same losses and detections, whatever shares a batch."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import generalized_box_iou_loss

from cxrssl.core.errors import DataError, RecipeError, TransferError
from cxrssl.models.detector import build_detector
from cxrssl.models.detector_folder import load_detector, required_files, save_detector
from cxrssl.models.families import fcos as family
from cxrssl.models.published.modeling_cxr_fcos import fcos as published_fcos
from cxrssl.models.published.pyramid_cxr_rcnn import TimmPyramid, freeze_norms, pyramid_body
from detectors import detector, fcos
from support import FCOS as FCOS_CHANGES
from support import finetune_recipe

BOXES = [[10.0, 20, 60, 90], [70, 15, 84, 33], [30, 30, 118, 122]]
TARGETS = [
    {"boxes": torch.tensor(BOXES), "labels": torch.tensor([1, 3, 2])},
    {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)},
    {"boxes": torch.tensor([[40.0, 50, 52, 59]]), "labels": torch.tensor([2])},
]
THREE = {"id2label": {0: "a", 1: "b", 2: "c"}}


def torchvisions(backbone: str) -> nn.Module:
    """Return torchvision's detector with the settings of its own constructor, 3 classes."""
    body = pyramid_body(backbone, size_px=64)
    freeze_norms(body)
    anchors = AnchorGenerator(((4,), (8,), (16,), (32,), (64,)), ((1.0,),) * 5)
    model: nn.Module = FCOS(
        TimmPyramid(body, out_channels=256), 3, min_size=64, max_size=64,
        image_mean=[0.5] * 3, image_std=[0.25] * 3, anchor_generator=anchors,
    )  # fmt: skip
    return model


def pair(backbone: str) -> tuple[nn.Module, nn.Module]:
    """Return torchvision's detector and ours with the same weights, with images to detect in."""
    torch.manual_seed(0)
    theirs = torchvisions(backbone)
    torch.nn.init.normal_(theirs.head.classification_head.cls_logits.weight, std=0.1)  # type: ignore[union-attr, operator, arg-type]
    # What is not torchvision's default is named: the rest is ours to have right.
    config = fcos(
        backbone=backbone, norm="frozen", size_px=64, fpn_channels=256, head_layers=4,
        anchor_sizes_px=(4, 8, 16, 32, 64), center_radius=1.5, candidates_per_level=1000,
        score_threshold=0.2, nms_iou=0.6, detections_per_image=100, **THREE,
    )  # fmt: skip
    ours = published_fcos(config)  # that of a detector folder
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_losses_and_detections_equal_torchvisions_bit_for_bit(backbone: str) -> None:
    theirs, ours = pair(backbone)
    images = [torch.rand(3, 128, 128), torch.rand(3, 100, 128), torch.rand(3, 128, 128)]
    from_0 = [target | {"labels": target["labels"] - 1} for target in TARGETS]
    expected, losses = theirs.train()(images, from_0), ours.train()(images, TARGETS)
    assert losses.keys() == {f"loss_{name}" for name in expected}
    for name, loss in expected.items():
        assert torch.equal(losses[f"loss_{name}"], loss)
    with torch.no_grad():
        pairs = zip(theirs.eval()(images), ours.eval()(images), strict=True)
    for first, second in pairs:
        assert len(first["boxes"]) > 5
        assert torch.equal(first["labels"] + 1, second["labels"])
        assert torch.equal(first["scores"], second["scores"])
        assert torch.equal(first["boxes"], second["boxes"])


def test_the_layout_of_memory_changes_no_result_beyond_the_sixth_digit() -> None:
    config = fcos(norm="frozen", size_px=128, **THREE)
    published, ours = published_fcos(config), build_detector(config)
    ours.load_state_dict(published.state_dict())
    pixels = torch.rand(2, 3, 128, 128)
    outputs = []
    for model in (published, ours):
        levels = model.eval().backbone(pixels).values()  # type: ignore[operator]
        outputs.append(model.head(list(levels)))  # type: ignore[operator]
    for name, first in outputs[0].items():
        assert torch.allclose(first, outputs[1][name], rtol=1e-5, atol=1e-5)


def test_the_losses_are_those_of_the_paper_as_explicit_loops() -> None:
    model = build_detector(fcos(norm="frozen", size_px=128, center_radius=1.5, **THREE)).train()
    images = [torch.rand(3, 128, 128) for _ in TARGETS]
    losses = {name: float(loss.detach()) for name, loss in model(images, TARGETS).items()}
    batch, _ = model.transform(images)  # type: ignore[operator]
    maps = list(model.backbone(batch.tensors).values())  # type: ignore[operator]
    outputs = {name: x.detach() for name, x in model.head(maps).items()}  # type: ignore[operator]
    lengths = [
        (length, stride, level.shape[-1])
        for length, stride, level in zip((2, 4, 8, 16, 32), (4, 8, 16, 32, 64), maps, strict=True)
    ]
    focal, giou, nearness, count = 0.0, 0.0, 0.0, 0
    for number, target in enumerate(TARGETS):
        place = 0
        for level, (length, stride, side) in enumerate(lengths):
            for row in range(side):
                for column in range(side):
                    x, y = column * stride, row * stride
                    logits = outputs["cls_logits"][number, place].tolist()
                    owner = answers_for(target["boxes"].tolist(), x, y, length, level)
                    label = None if owner is None else int(target["labels"][owner]) - 1
                    focal += sum(focal_loss(z, k == label) for k, z in enumerate(logits))
                    if owner is not None:
                        count += 1
                        x0, y0, x1, y1 = target["boxes"][owner].tolist()
                        distances = outputs["bbox_regression"][number, place] * length
                        left, top, right, bottom = distances.tolist()
                        drawn = torch.tensor([[x - left, y - top, x + right, y + bottom]])
                        true = target["boxes"][owner][None]
                        giou += float(generalized_box_iou_loss(drawn, true).sum())
                        near = (min(x - x0, x1 - x) / max(x - x0, x1 - x)) * (
                            min(y - y0, y1 - y) / max(y - y0, y1 - y)
                        )
                        logit = outputs["bbox_ctrness"][number, place, 0]
                        nearness += float(
                            nn.functional.binary_cross_entropy_with_logits(
                                logit, torch.tensor(near**0.5)
                            )
                        )
                    place += 1
    assert count > 10
    assert int(family.num_samples(model, [])["loss_bbox_ctrness"]) == count
    assert losses["loss_classification"] == pytest.approx(focal / count, rel=1e-4)
    assert losses["loss_bbox_regression"] == pytest.approx(giou / count, rel=1e-4)
    assert losses["loss_bbox_ctrness"] == pytest.approx(nearness / count, rel=1e-4)


def answers_for(
    boxes: list[list[float]], x: float, y: float, length: float, level: int
) -> int | None:
    """Return the smallest box that a location is near the middle of and of the size for."""
    least, owner = float("inf"), None
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        inside = min(x - x0, y - y0, x1 - x, y1 - y) > 0
        off = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
        farthest = max(x - x0, y - y0, x1 - x, y1 - y)
        low, high = (0 if level == 0 else 4 * length), (float("inf") if level == 4 else 8 * length)
        area = (x1 - x0) * (y1 - y0)
        if inside and off < 1.5 * length and low < farthest < high and area < least:
            least, owner = area, number
    return owner


def focal_loss(logit: float, is_true: bool) -> float:
    """Return the focal loss, arXiv 1708.02002 equation 5, with alpha 0.25 and gamma 2."""
    z = torch.tensor(logit, dtype=torch.float64)
    p = z.sigmoid() if is_true else (-z).sigmoid()
    return float(-(0.25 if is_true else 0.75) * (1 - p) ** 2 * p.log())


def test_parts_of_a_batch_add_up_to_the_whole_with_the_numbers_that_they_are_means_over() -> None:
    model = build_detector(fcos(norm="frozen", size_px=128, **THREE)).train()
    images = [torch.rand(3, 128, 128) for _ in range(4)]
    targets = [TARGETS[1], TARGETS[0], TARGETS[1], TARGETS[2]]
    whole = model(images, targets)
    total = family.num_samples(model, [])
    sums = dict.fromkeys(whole, 0.0)
    # The second part has no positive location, and is divided by 1.
    for part in ([0, 1], [2], [3]):
        losses = model([images[i] for i in part], [targets[i] for i in part])
        counts = family.num_samples(model, [])
        for name, loss in losses.items():
            sums[name] += float(loss.detach()) * max(1, int(counts[name]))
    for name, loss in whole.items():
        assert sums[name] / int(total[name]) == pytest.approx(float(loss.detach()), rel=1e-6)


def test_no_loss_depends_on_a_draw() -> None:
    model = build_detector(fcos(norm="frozen", size_px=128, **THREE)).train()
    images = [torch.rand(3, 128, 128) for _ in TARGETS]
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        family.seed_samples(model, [seed, seed, seed])
        losses.append(model(images, TARGETS))
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


def test_half_precision_makes_results_of_full_precision() -> None:
    model = build_detector(fcos()).train()
    image = torch.rand(3, 64, 64)
    target = {"boxes": torch.tensor([[3.3, 3.1, 40.7, 50.9]]), "labels": torch.tensor([1])}
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [target])
        (detections,) = model.eval()([image])
    dtypes = {tensor.dtype for tensor in (*losses.values(), detections["boxes"])}
    assert dtypes == {torch.float32}
    # Of locations, which are whole pixels, only rounded distances would leave whole pixels.
    assert bool((detections["boxes"] % 1 > 0).any())


def test_nms_is_that_which_is_set() -> None:
    model = detector(fcos()).model.eval()
    image = [torch.rand(3, 64, 64)]
    numbers = []
    with torch.no_grad():
        for iou, most in ((0.5, 20), (0.5, 1000), (1.0, 1000)):
            family.set_nms(model, iou=iou, most=most)
            numbers.append(len(model(image)[0]["boxes"]))
    assert numbers[0] == 20 < numbers[1] < numbers[2]


def test_a_saved_detector_computes_the_same_when_loaded(tmp_path: Path) -> None:
    first = detector(fcos(backbone="test_vit"))
    save_detector(first, tmp_path)
    second = load_detector(tmp_path)
    assert (second.classes, second.protocol, second.fit) == (("a", "b"), "corrected", "squash")
    image = [torch.rand(3, 64, 64)]
    with torch.no_grad():
        a, b = first.model.eval()(image)[0], second.model.eval()(image)[0]
    assert len(a["boxes"]) > 0
    assert all(torch.equal(a[name], b[name]) for name in a)
    names = {path.name for path in tmp_path.iterdir()}
    assert set(required_files(tmp_path, second)) == names
    assert not any("rcnn" in name for name in names - {"pyramid_cxr_rcnn.py"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head_layers", 0), ("head_layers", 65), ("center_radius", -1), ("center_radius", "1"),
        ("candidates_per_level", 20_001), ("anchor_sizes_px", [4, 8]), ("nms_iou", 1.5),
        ("norm", "ln"), ("fpn_channels", True),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_named(tmp_path: Path, key: str, value: object) -> None:
    save_detector(detector(fcos()), tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(DataError, match=f"no detector of cxrssl has: {key} is"):
        load_detector(tmp_path)


def test_widths_without_whole_groups_are_refused(store_folder: Path) -> None:
    with pytest.raises(TransferError, match="fpn_channels is 12; FCOS needs a multiple of 8"):
        build_detector(fcos(fpn_channels=12))
    with pytest.raises(RecipeError, match="fpn_channels"):
        finetune_recipe(store_folder, FCOS_CHANGES, "model.fpn_channels=12")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.anchor_sizes_px=[4, 8, 24, 32, 64]", r"no level .* between 64 and 96 px away"),
        ("model.anchor_sizes_px=[4, 8, 8, 16, 32]", "8 and then 8; expected a rise"),
        ("model.anchor_sizes_px=[3, 6, 12, 24, 48]", "anchor_sizes_px has 3; expected even"),
        ("init={start: coco, weights: null, backbone: null}", "start: coco is a Faster R-CNN"),
        (
            "gate={power: 1.0, drop_below: 0, weight_decay: 0.1}",
            "gate has no place in model.family fcos",
        ),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(
    change: str, message: str, store_folder: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune_recipe(store_folder, FCOS_CHANGES, change)


def test_a_box_of_every_size_has_a_location() -> None:
    model = build_detector(fcos(norm="frozen", size_px=128, **THREE)).train()
    images, _ = model.transform([torch.rand(3, 128, 128)])  # type: ignore[operator]
    maps = list(model.backbone(images.tensors).values())  # type: ignore[operator]
    outputs, anchors = model.head(maps), model.anchor_generator(images, maps)  # type: ignore[operator]
    places = [level.shape[2] * level.shape[3] for level in maps]
    for side in range(5, 128):
        target = {"boxes": torch.tensor([[0.0, 0, side, side]]), "labels": torch.tensor([1])}
        model.compute_loss([target], outputs, anchors, places)  # type: ignore[operator]
        assert int(family.num_samples(model, [])["loss_classification"]) > 0, side
