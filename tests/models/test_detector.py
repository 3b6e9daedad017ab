"""The detector is torchvision's own: same weights, same losses and detections, bit for bit."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops.misc import FrozenBatchNorm2d

from cxrssl.core.errors import DataError, TransferError
from cxrssl.core.images import Intensity
from cxrssl.models.detector import build_detector, detector_input
from cxrssl.models.detector_folder import load_detector, save_detector
from cxrssl.models.families import faster_rcnn
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from detectors import ARCHITECTURES, detector, rcnn, rtdetr

TARGET = {"boxes": torch.tensor([[10.0, 20, 60, 90]]), "labels": torch.tensor([1])}
EMPTY = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}


def torchvisions(*, frozen: bool) -> nn.Module:
    """Return torchvision's detector with the settings of its own constructor, 3 classes."""
    torch.manual_seed(0)
    model: nn.Module = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=128, max_size=128
    )
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean") or ("bn" in name and name.endswith("bias")):
            tensor.normal_(0, 0.1)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    if frozen:
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                frozen_norm = FrozenBatchNorm2d(module.num_features, eps=0.0)
                frozen_norm.load_state_dict(module.state_dict())
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, frozen_norm)
    return model


def outcomes(model: nn.Module, images: list[Tensor]) -> list[dict[str, Tensor]]:
    """Return the losses of a training pass and the detections of one in use."""
    torch.manual_seed(1)  # the samplers of RPN and RoI heads draw from it
    model.train()
    losses = model(images, [TARGET, EMPTY])
    model.eval()
    with torch.no_grad():
        return [losses, *model(images)]


@pytest.mark.parametrize("frozen", [False, True])
def test_losses_and_detections_equal_torchvisions_bit_for_bit(frozen: bool) -> None:
    theirs = torchvisions(frozen=frozen)
    # Only what is not torchvision's default is named: the rest is ours to have right.
    config = CxrRcnnConfig(
        norm="frozen" if frozen else "bn", norm_eps=0.0 if frozen else None, size_px=128,
        id2label={0: "a", 1: "b"}, image_mean=0.5, image_std=0.25,
    )  # fmt: skip
    ours = build_detector(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.transform.image_mean, theirs.transform.image_std = [0.5] * 3, [0.25] * 3  # type: ignore[union-attr, assignment]
    images = [torch.rand(3, 128, 128), torch.rand(3, 100, 128)]
    results = [outcomes(model, images) for model in (theirs, ours)]
    for first, second in zip(*results, strict=True):
        assert set(first) == set(second)
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(results[0][1]["boxes"]) > 0


def test_l1_is_smooth_l1_where_no_offset_is_small() -> None:
    plain, smooth = (build_detector(rcnn(box_loss=loss)) for loss in ("l1", "smooth_l1"))
    plain.load_state_dict(smooth.state_dict())
    images = [torch.rand(3, 64, 64)] * 2
    losses = {}
    for name, model in (("l1", plain), ("smooth_l1", smooth)):
        torch.manual_seed(1)
        losses[name] = model.train()(
            images, [TARGET | {"boxes": torch.tensor([[9.0, 9, 40, 50]])}, EMPTY]
        )
    for part in ("loss_classifier", "loss_objectness"):
        assert torch.equal(losses["l1"][part], losses["smooth_l1"][part])
    # Beyond its bend at 1/9, smooth L1 lies 1/18 below L1; nowhere is it above.
    for part in ("loss_box_reg", "loss_rpn_box_reg"):
        assert 0 < losses["l1"][part] - losses["smooth_l1"][part] < 4 / 18


def test_l1_is_the_mean_absolute_offset_over_the_sampled_anchors() -> None:
    rpn = build_detector(rcnn(box_loss="l1")).rpn
    labels = [torch.tensor([1.0, 0.0, -1.0, 1.0])]
    offsets, true_offsets = torch.randn(4, 4), torch.randn(4, 4)
    logits = torch.randn(4, 1)
    objectness, box = rpn.compute_loss(logits, offsets, labels, [true_offsets])  # type: ignore[operator]
    sampled = torch.tensor([0, 1, 3])
    assert torch.isclose(box, (offsets - true_offsets)[[0, 3]].abs().sum() / 3)
    expected = nn.functional.binary_cross_entropy_with_logits(
        logits.flatten()[sampled], labels[0][sampled]
    )
    assert torch.isclose(objectness, expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_detector_computes_the_same_when_loaded(architecture: str, tmp_path: Path) -> None:
    first = detector(rcnn(backbone=architecture, norm="frozen"))
    save_detector(first, tmp_path)
    second = load_detector(tmp_path)
    assert (second.classes, second.intensity, second.protocol, second.fit) == (
        ("a", "b"), Intensity(equalize=True, mean=0.5, std=0.25), "corrected", "squash",
    )  # fmt: skip
    assert same_detections(first.model, second.model)


@pytest.mark.parametrize("norm", ["frozen", "recalibrated", "bn", "sync", "gn"])
@pytest.mark.parametrize("stages", [0, 2])
def test_every_norm_survives_saving_with_and_without_frozen_stages(
    norm: str, stages: int, tmp_path: Path
) -> None:
    first = detector(rcnn(norm=norm, frozen_stages=stages, backbone="test_efficientnet"))
    save_detector(first, tmp_path)
    assert same_detections(first.model, load_detector(tmp_path).model)


def same_detections(first: nn.Module, second: nn.Module) -> bool:
    """Return whether two detectors find the same in an image, and find something."""
    images = detector_input([torch.randint(0, 255, (1, 64, 64), dtype=torch.uint8)])
    with torch.no_grad():
        a, b = first.eval()(images)[0], second.eval()(images)[0]
    return len(a["boxes"]) > 0 and all(torch.equal(a[name], b[name]) for name in a)


def test_rtdetr_survives_saving_bit_for_bit(tmp_path: Path) -> None:
    first = detector(rtdetr())
    save_detector(first, tmp_path)
    second = load_detector(tmp_path)
    assert (second.classes, second.protocol) == (("a", "b"), "corrected")
    assert same_detections(first.model, second.model)


def test_rtdetrs_losses_are_transformers_own_added_up_by_kind() -> None:
    model = build_detector(rtdetr()).train()
    images = [torch.rand(3, 64, 64)] * 2
    target = {"boxes": torch.tensor([[8.0, 16, 40, 48]]), "labels": torch.tensor([2])}
    torch.manual_seed(0)
    losses = model(images, [target, EMPTY])
    assert sorted(losses) == ["loss_bbox", "loss_giou", "loss_vfl"]
    torch.manual_seed(0)
    labels = [
        {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.375, 0.5, 0.5, 0.5]])},
        {"class_labels": torch.empty(0, dtype=torch.int64), "boxes": torch.empty(0, 4)},
    ]
    pixels = (torch.stack(images) - 0.5) / 0.25
    total = model.network(pixel_values=pixels, labels=labels).loss  # type: ignore[operator]
    assert torch.isclose(sum(losses.values()), total)  # type: ignore[arg-type]


def test_rtdetr_refuses_a_transformer_for_a_backbone() -> None:
    with pytest.raises(TransferError, match="needs a convolutional backbone, and vit_tiny"):
        rtdetr(backbone="vit_tiny_patch16_224")


def test_grey_levels_become_three_equal_channels_in_0_to_1() -> None:
    grey = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    assert detector_input([grey])[0].tolist() == [[[0.0, 1.0]]] * 3


@pytest.mark.parametrize("family", ["rcnn", "rtdetr"])
def test_images_without_boxes_can_be_trained_on(family: str) -> None:
    model = build_detector(rcnn() if family == "rcnn" else rtdetr()).train()
    losses = model([torch.rand(3, 64, 64)], [EMPTY])
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    sum(losses.values()).backward()
    # Under several processes a parameter without a gradient would stop the run.
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_frozen_stages_keep_parameters_and_statistics() -> None:
    body = faster_rcnn.body(build_detector(rcnn(backbone="resnet18", frozen_stages=2)))
    frozen = {name.split(".")[0] for name, p in body.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1"}
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    body.train()(torch.randn(2, 3, 64, 64))
    moved = {n for n, t in body.state_dict().items() if "running" in n and not t.equal(before[n])}
    assert {name.split(".")[0] for name in moved} == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize(
    ("backbone", "stages"), [("test_resnet", 5), ("test_vit", 7), ("convnext_atto", 5)]
)
def test_a_backbone_may_be_frozen_whole_and_the_rest_is_trained(backbone: str, stages: int) -> None:
    model = build_detector(rcnn(backbone=backbone, frozen_stages=stages)).train()
    body = faster_rcnn.body(model)
    assert not any(parameter.requires_grad for parameter in body.parameters())
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    target = {"boxes": torch.tensor([[3.0, 3, 40, 50]]), "labels": torch.tensor([1])}
    sum(model([torch.rand(3, 64, 64)] * 2, [target] * 2).values()).backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in body.state_dict().items())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in model.named_parameters() if p.grad is not None}
    assert any(name.startswith("backbone.fpn.") for name in trained)
    with pytest.raises(TransferError, match=r"has \d stages with its stem. Set it to at most \d\."):
        build_detector(rcnn(backbone=backbone, frozen_stages=stages + 2))  # ConvNeXt's last norm


def test_group_norms_hold_the_activation_of_the_norms_they_replace() -> None:
    body = faster_rcnn.body(build_detector(rcnn(backbone="test_efficientnet", norm="gn")))
    kinds = {type(module).__name__ for module in body.modules()}
    assert "GroupNormAct" in kinds
    assert not any("BatchNorm" in kind for kind in kinds)
    plain = faster_rcnn.body(build_detector(rcnn(backbone="test_efficientnet", norm="bn")))
    acts = [
        [str(m.act) for m in b.modules() if hasattr(m, "drop") and hasattr(m, "act")]
        for b in (body, plain)
    ]
    assert acts[0] == acts[1]


def test_a_pyramid_has_five_levels_at_strides_4_to_64() -> None:
    for architecture in ("test_resnet", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"):
        backbone = build_detector(rcnn(backbone=architecture)).backbone.eval()  # type: ignore[union-attr]
        maps = backbone(torch.rand(1, 3, 64, 64))
        assert isinstance(maps, OrderedDict)
        assert [tuple(x.shape[1:]) for x in maps.values()] == [
            (16, side, side) for side in (16, 8, 4, 2, 1)
        ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet5"}, r"no model called 'resnet5'.*resnet50"),
        ({"backbone": "vit_small_patch8_224"}, r"strides \[8, .*a pyramid needs 4, 8, 16, 32"),
        ({"frozen_stages": 9}, r"frozen_stages is 9, and this backbone has \d+ stages"),
    ],
)
def test_a_backbone_that_can_carry_no_detector_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TransferError, match=message):
        build_detector(rcnn(**changes))


def test_a_folder_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json and preprocessor_config\.json and model"):
        load_detector(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    first = detector(rcnn())
    save_detector(replace(first, config=rcnn(backbone="resnet18")), tmp_path)
    with pytest.raises(TransferError, match=r"do not fit config\.json: \d+ tensors are missing"):
        load_detector(tmp_path)
