"""Stages are those that are frozen; factors of the rate are those of timm's own groups."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from cxrssl.core.errors import TransferError
from cxrssl.models.backbone import pyramid_body
from cxrssl.models.published.pyramid_cxr_rcnn import body_names, stage_parameters
from cxrssl.models.stages import layer_lr_scales, stages_of

ARCHITECTURES = (
    *("test_resnet", "resnet50", "convnext_tiny", "efficientnet_lite0", "densenet121"),
    *("vit_small_patch16_224", "swin_tiny_patch4_window7_224"),
    "vit_small_patch14_reg4_dinov2",
)


def body_of(architecture: str) -> nn.Module:
    with torch.device("meta"):
        return pyramid_body(architecture, size_px=224)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stage_is_what_frozen_stages_adds(architecture: str) -> None:
    stages = stages_of(body_of(architecture), architecture)
    assert set(stages) == set(body_of(architecture).state_dict())
    num_stages = max(stages.values())
    known = {"resnet50": 5, "convnext_tiny": 5, "vit_small_patch16_224": 13}
    known["vit_small_patch14_reg4_dinov2"] = 13
    assert known.get(architecture, num_stages) == num_stages
    parameters = set(dict(body_of(architecture).named_parameters()))
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=0)
    for count in range(num_stages):
        frozen = {place for name in stage_parameters(model, count) for place in body_names(name)}
        kept = {name for name, stage in stages.items() if stage <= count}
        assert kept & parameters == frozen & parameters


def test_statistics_of_a_norm_are_of_its_stage() -> None:
    stages = stages_of(body_of("resnet50"), "resnet50")
    assert stages["bn1.running_mean"] == stages["conv1.weight"] == 1
    assert stages["layer1.0.bn1.running_var"] == 2
    assert stages["layer4.2.bn3.num_batches_tracked"] == 5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_factors_are_those_of_timms_groups(architecture: str) -> None:
    scales = layer_lr_scales(body_of(architecture), architecture, 0.7)
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = {
        place: group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.7)
        for parameter in group["params"]
        for place in body_names(names[id(parameter)])
    }
    assert set(scales) == set(dict(body_of(architecture).named_parameters()))
    assert scales == {name: pytest.approx(expected[name], rel=1e-12) for name in scales}
    assert max(scales.values()) <= 1.0
    assert len(set(scales.values())) >= 4


def test_the_last_block_of_a_resnet_is_one_layer_below_the_heads() -> None:
    scales = layer_lr_scales(body_of("resnet50"), "resnet50", 0.5)
    assert scales["layer4.2.conv3.weight"] == 0.5
    assert scales["layer4.1.conv3.weight"] == 0.25
    assert scales["conv1.weight"] == 0.5**17


def test_a_backbone_without_stages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    body = body_of("test_resnet")
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Linear(2, 2))
    with pytest.raises(TransferError, match=r"no stages of test_resnet. Set init.keep_stages and"):
        stages_of(body, "test_resnet")


def test_a_tensor_of_no_stage_is_named() -> None:
    body = body_of("test_resnet")
    body.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(TransferError, match="test_resnet has no extra, which is a tensor of"):
        layer_lr_scales(body, "test_resnet", 0.5)
