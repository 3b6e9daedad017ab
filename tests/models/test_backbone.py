"""A saved backbone is timm's own format: plain timm opens it where cxrssl can't be imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from cxrssl.core.errors import TransferError
from cxrssl.core.images import Intensity
from cxrssl.models.backbone import (
    check_sizes,
    encoder,
    load_backbone,
    pyramid_body,
    recalibrate,
    save_backbone,
    sync_batch_norm,
)
from cxrssl.models.published import pyramid_cxr_rcnn as published
from cxrssl.models.weights import transfer

INTENSITY = Intensity(equalize=True, mean=0.4, std=0.2)
WITHOUT_CXRSSL = """
import sys
sys.modules["cxrssl"] = None
import timm, torch
torch.set_num_threads(1)  # as here: sums of floats depend on it
where, out = sys.argv[1:]
images = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
model = timm.create_model(f"local-dir:{where}", pretrained=True).eval()
body = timm.create_model(f"local-dir:{where}", pretrained=True, features_only=True).eval()
config = timm.data.resolve_model_data_config(model)
assert list(config["mean"]) == [0.4] * 3 and list(config["std"]) == [0.2] * 3, config
torch.save([model(images).detach(), [maps.detach() for maps in body(images)]], out)
"""


def saved(folder: Path, architecture: str = "test_resnet") -> torch.nn.Module:
    torch.manual_seed(0)  # the weights matter to no other test
    model = encoder(architecture)
    save_backbone(model, folder, tag="test", size_px=64, intensity=INTENSITY)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    ["test_resnet", "resnet50", "resnet18", "convnext_atto", "efficientnet_lite0"],
)
def test_plain_timm_opens_a_backbone_and_computes_the_same(
    architecture: str, tmp_path: Path
) -> None:
    model = saved(tmp_path / "backbone", architecture).eval()
    out = tmp_path / "out.pt"
    command = [sys.executable, "-c", WITHOUT_CXRSSL, str(tmp_path / "backbone"), str(out)]
    subprocess.run(command, check=True)
    features, maps = torch.load(out)  # noqa: TID251 - written by the line above
    images = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    assert torch.equal(features, model(images))
    body = pyramid_body(architecture, size_px=64).eval()
    assert transfer(body, model.state_dict(), source="test").arrived
    expected = body(images)
    assert len(expected) == 4
    assert all(torch.equal(a, b) for a, b in zip(maps[-4:], expected, strict=True))


def test_a_backbone_folder_remembers_its_intensity(tmp_path: Path) -> None:
    model = saved(tmp_path)
    architecture, state, intensity = load_backbone(tmp_path)
    assert (architecture, intensity) == ("test_resnet", INTENSITY)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_the_saved_config_keeps_transformers_wrapper_alive(tmp_path: Path) -> None:
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "num_classes" not in config.get("model_args", {})
    assert config["pretrained_cfg"]["tag"] == "test"


def test_synchronised_batch_norms_keep_parameters_and_keys() -> None:
    model = encoder("test_efficientnet")  # timm's own BatchNorm with an activation
    parameters, keys = list(model.parameters()), list(model.state_dict())
    synced = sync_batch_norm(model)
    assert all(a is b for a, b in zip(synced.parameters(), parameters, strict=True))
    assert list(synced.state_dict()) == keys
    kinds = {type(m) for m in synced.modules() if hasattr(m, "running_mean")}
    assert kinds
    assert all(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds)
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(synced.eval()(images), encoder_with(model).eval()(images), atol=1e-5)


def encoder_with(trained: torch.nn.Module) -> torch.nn.Module:
    plain = encoder("test_efficientnet")
    plain.load_state_dict(trained.state_dict())
    return plain


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"config\.json and model\.safetensors missing"):
        load_backbone(tmp_path)


def test_an_unknown_architecture_is_refused_with_its_neighbours() -> None:
    with pytest.raises(TransferError, match=r"no model called 'resnet5'.*resnet50"):
        encoder("resnet5")


# One that resamples its positions, one of windows, and one that is built for its size.
@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "pit_ti_224"]
)
def test_a_backbone_of_one_size_is_built_for_another_and_opens_in_timm(
    architecture: str, tmp_path: Path
) -> None:
    model = encoder(architecture, sizes_px=[64])
    check_sizes(model, [64], saved_px=64)
    save_backbone(model, tmp_path, tag="test", size_px=64, intensity=INTENSITY)
    opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=0).eval()
    images = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    assert torch.equal(opened(images), model.eval()(images))
    if architecture != "pit_ti_224":  # no detector has a body of it
        body = pyramid_body(architecture, size_px=512)
        assert transfer(body, model.state_dict(), source="test").arrived


@pytest.mark.parametrize("architecture", ["resnet18", "test_vit3", "swin_tiny_patch4_window7_224"])
def test_a_backbone_at_its_own_size_is_as_timm_makes_it(architecture: str) -> None:
    size_px = timm.get_pretrained_cfg(architecture).input_size[-1]
    torch.manual_seed(0)
    model = encoder(architecture, sizes_px=[size_px])
    torch.manual_seed(0)
    plain = timm.create_model(architecture, num_classes=0)
    assert str(model) == str(plain)
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())


def test_a_trial_of_sizes_leaves_no_trace() -> None:
    model = encoder("test_efficientnet")
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    check_sizes(model, [64, 32], saved_px=64)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_norms_take_the_statistics_of_the_images_at_hand() -> None:
    body = published.pyramid_body("test_efficientnet", size_px=64)
    published.freeze_norms(body)
    body.conv_stem.weight.requires_grad_(False)
    images = [torch.randn(4, 3, 64, 64) * 2 + 1, torch.randn(4, 3, 64, 64) * 2 + 1]
    recalibrate(body, images)
    first = body.conv_stem(torch.cat(images)).detach()
    assert torch.allclose(body.bn1.running_mean, first.mean((0, 2, 3)), atol=1e-4)
    # The mean of two unbiased variances, within what separates it from that of the whole.
    assert torch.allclose(body.bn1.running_var, first.var((0, 2, 3)), rtol=2e-2)
    assert "num_batches_tracked" not in "".join(body.state_dict())
    still = {name for name, p in body.named_parameters() if not p.requires_grad}
    assert still == {"conv_stem.weight"}
