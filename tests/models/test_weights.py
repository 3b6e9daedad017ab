"""The transfer audit: all or nothing, and the record proves which."""

import pytest
import timm
import torch
from torch import nn

from cxrssl.core.errors import TransferError
from cxrssl.models.backbone import encoder, pyramid_body
from cxrssl.models.weights import is_source, tensors_sha256, transfer
from detectors import detector, rcnn


@pytest.mark.parametrize(
    "architecture",
    ["test_resnet", "resnet10t", "convnext_atto", "efficientnet_lite0", "mobilenetv3_small_050"],
)
def test_an_encoder_arrives_whole_in_a_body(architecture: str) -> None:
    source, body = encoder(architecture), pyramid_body(architecture, size_px=64)
    record = transfer(body, source.state_dict(), source="test")
    assert record.arrived
    assert len(record.matched) == len(body.state_dict())
    # What timm itself builds from the same weights gives the same maps, bit for bit.
    plain = timm.create_model(architecture, num_classes=0)
    plain.load_state_dict(source.state_dict())
    images = torch.randn(1, 3, 64, 64)
    maps = plain.eval().forward_intermediates(images, intermediates_only=True)
    ours = body.eval()(images)
    assert torch.equal(ours[0], [m for m in maps if m.shape == ours[0].shape][-1])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_transformer_arrives_whole_in_a_body_for_images_of_another_size(
    architecture: str,
) -> None:
    source, body = encoder(architecture), pyramid_body(architecture, size_px=256)
    record = transfer(body, source.state_dict(), source="test")
    assert record.arrived
    assert all(key.startswith(("norm.", "head.")) for key in record.unexpected)
    assert len(body(torch.zeros(1, 3, 256, 256))) in (1, 4)


def test_a_head_beyond_the_body_is_recorded_and_left() -> None:
    state = encoder("test_resnet").state_dict() | {"projector.0.weight": torch.ones(2)}
    record = transfer(pyramid_body("test_resnet", size_px=64), state, source="test")
    assert record.unexpected == ("projector.0.weight",)


def test_foreign_keys_are_refused_and_nothing_is_changed() -> None:
    body = pyramid_body("test_resnet", size_px=64)
    before = tensors_sha256(body.state_dict(), order=list(body.state_dict()))
    # The published code saved an nn.Sequential, whose keys are numbers.
    numbered = nn.Sequential(*encoder("test_resnet").children()).state_dict()
    with pytest.raises(
        TransferError, match=r"90 \(bn1.bias.*\) missing.* 0 of 90 matched. Nothing was"
    ):
        transfer(body, numbered, source="published.pt")
    assert tensors_sha256(body.state_dict(), order=list(body.state_dict())) == before


def test_a_single_missing_or_reshaped_tensor_is_refused() -> None:
    state = encoder("test_resnet").state_dict()
    less = {key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}
    with pytest.raises(TransferError, match=r"1 \(layer1\.0\.conv1\.weight\) missing"):
        transfer(pyramid_body("test_resnet", size_px=64), less, source="test")
    other = state | {"layer1.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(TransferError, match=r"1 \(layer1\.0\.conv1\.weight\) of another shape"):
        transfer(pyramid_body("test_resnet", size_px=64), other, source="test")


def test_hashes_tell_one_changed_value() -> None:
    state = {"a": torch.zeros(3), "b": torch.zeros(2)}
    changed = state | {"b": torch.tensor([0.0, 1e-30])}
    assert tensors_sha256(state, order=["a", "b"]) != tensors_sha256(changed, order=["a", "b"])


@pytest.mark.parametrize("norm", ["bn", "frozen"])
def test_a_record_knows_the_tensors_that_it_is_of(norm: str) -> None:
    source, other = encoder("test_resnet"), encoder("test_resnet")
    body = detector(rcnn(norm=norm)).body
    keys = list(pyramid_body("test_resnet", size_px=64).state_dict())
    record = transfer(body, source.state_dict(), source="test").as_json()
    assert is_source(record, source.state_dict(), keys=keys)
    assert not is_source(record, other.state_dict(), keys=keys)
    assert not is_source(record, {}, keys=keys)
    assert not is_source(
        record | {"matched": [*record["matched"], "x"]}, source.state_dict(), keys=keys
    )


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "hgnetv2_b0"])
def test_what_a_batch_norm_has_learnt_does_not_go_into_a_group_norm(architecture: str) -> None:
    state = encoder(architecture).state_dict()
    body = detector(rcnn(norm="gn", backbone=architecture)).body
    before = tensors_sha256(body.state_dict(), order=list(body.state_dict()))
    message = r"test was trained with BatchNorm, and \d+ \(.*Nothing was loaded.*model\.norm"
    with pytest.raises(TransferError, match=message):
        transfer(body, state, source="test")
    assert tensors_sha256(body.state_dict(), order=list(body.state_dict())) == before


def test_group_norms_arrive_in_group_norms() -> None:
    source, target = (detector(rcnn(norm="gn")).body for _ in range(2))
    assert transfer(target, source.state_dict(), source="test").arrived
    native = timm.create_model("resnet50_gn", num_classes=0).state_dict()
    assert transfer(encoder("resnet50_gn"), native, source="test").arrived
    with pytest.raises(TransferError, match="was trained with BatchNorm"):
        transfer(encoder("resnet50_gn"), encoder("resnet50").state_dict(), source="test")


def test_a_file_of_two_networks_is_refused() -> None:
    state = encoder("test_resnet").state_dict()
    # As timm's wrapper names it: `stages.0.x` becomes `stages_0.x`.
    twice = state | {"layer1_0.x": torch.zeros(1), "layer1.0.x": torch.zeros(1)}
    body = pyramid_body("test_resnet", size_px=64)
    body.register_module("layer1_0", nn.ParameterDict({"x": torch.zeros(1)}))
    with pytest.raises(TransferError, match=r"two tensors for layer1_0.x.*file of two networks"):
        transfer(body, twice, source="ema.safetensors")
