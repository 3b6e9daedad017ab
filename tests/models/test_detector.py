"""The detector is torchvision's own: same weights, same losses and detections, bit for bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from cxrssl.core.errors import DataError
from cxrssl.core.images import Intensity
from cxrssl.models.detector import (
    DetectorSettings,
    build_detector,
    detector_input,
    load_detector,
    save_detector,
    settle_norm,
)

SMALL = DetectorSettings(
    backbone="test_resnet",
    classes=("a", "b"),
    protocol="corrected",
    size_px=64,
    intensity=Intensity(equalize=False, mean=0.5, std=0.25),
    norm="bn",
    fpn_channels=16,
    head_features=32,
    anchor_sizes_px=(4, 8, 16, 32, 64),
    rpn_proposals=50,
    rpn_samples=32,
    roi_samples=32,
    score_threshold=0.0,
    nms_iou=0.5,
    detections_per_image=20,
)
TORCHVISION = replace(
    SMALL,
    backbone="resnet50",
    size_px=128,
    fpn_channels=256,
    head_features=1024,
    anchor_sizes_px=(32, 64, 128, 256, 512),
    rpn_proposals=1000,
    rpn_samples=256,
    roi_samples=512,
    detections_per_image=100,
)


def test_losses_and_detections_equal_torchvisions_bit_for_bit() -> None:
    torch.manual_seed(0)  # both networks share one state, and each pass its own seed
    theirs = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        min_size=128,
        max_size=128,
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
        box_score_thresh=0.0,
        rpn_pre_nms_top_n_test=2000,
        rpn_post_nms_top_n_train=1000,
    )
    ours = build_detector(TORCHVISION)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = [torch.rand(3, 128, 128), torch.rand(3, 128, 128)]
    target = {"boxes": torch.tensor([[10.0, 20, 60, 90]]), "labels": torch.tensor([1])}
    results = []
    for model in (theirs, ours):
        torch.manual_seed(1)  # the samplers of RPN and RoI heads draw from it
        model.train()
        losses = model(images, [target, target])
        results.append([losses, *model.eval()(images)])
    for first, second in zip(*results, strict=True):
        assert set(first) == set(second)
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(results[0][1]["boxes"]) > 0


@pytest.mark.parametrize("norm", ["bn", "frozen"])
def test_a_saved_detector_computes_the_same_when_loaded(norm: str, tmp_path: Path) -> None:
    settings = replace(SMALL, norm=norm)  # type: ignore[arg-type]
    model = build_detector(settings).eval()
    settle_norm(model, settings.norm)
    save_detector(model, settings, tmp_path)
    again, found = load_detector(tmp_path)
    assert found == settings
    images = detector_input([torch.randint(0, 255, (1, 64, 64), dtype=torch.uint8)])
    first, second = model(images)[0], again.eval()(images)[0]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_grey_levels_become_three_equal_channels_in_0_to_1() -> None:
    grey = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    assert detector_input([grey])[0].tolist() == [[[0.0, 1.0]]] * 3


def test_images_without_boxes_can_be_trained_on() -> None:
    model = build_detector(SMALL).train()
    empty = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
    losses = model([torch.rand(3, 64, 64)], [empty])
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def test_a_folder_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json and model\.safetensors missing"):
        load_detector(tmp_path)
