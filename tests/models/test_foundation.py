"""DINOv2 under the names of all who publish it: equal features, new patches, and refusals."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from cxrssl.core.errors import DataError, TransferError
from cxrssl.core.images import Intensity
from cxrssl.models.backbone import pyramid_body
from cxrssl.models.foundation_names import with_timm_names
from cxrssl.models.initial_weights import imagenet_start, published_start, stated_terms
from cxrssl.models.patches import with_patches_of
from cxrssl.models.stated_levels import other_levels
from cxrssl.models.weights import is_source, transfer

ARCHITECTURE = "vit_small_patch14_dinov2"
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 70}
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 518}
OLD_NAMES = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}


def with_random_values(model: nn.Module) -> nn.Module:
    """Give a network values that none of its tensors has by default, so that each counts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def dinov2(num_registers: int) -> nn.Module:
    """Return a tiny DINOv2 of transformers, with registers or without."""
    if not num_registers:
        return with_random_values(Dinov2Model(Dinov2Config(**TINY, patch_size=14)))
    config = Dinov2WithRegistersConfig(**TINY, patch_size=14, num_register_tokens=num_registers)
    return with_random_values(Dinov2WithRegistersModel(config))


def vit(num_registers: int, *, patch_px: int = 14, size_px: int = 70) -> VisionTransformer:
    """Return timm's network of the same size, as timm's own DINOv2 is built."""
    network = VisionTransformer(
        img_size=size_px, patch_size=patch_px, embed_dim=32, depth=2, num_heads=2, num_classes=0,
        init_values=1e-5, reg_tokens=num_registers, no_embed_class=bool(num_registers),
        dynamic_img_size=True,
    )  # fmt: skip
    network.pretrained_cfg = {"architecture": ARCHITECTURE}  # as timm's own functions leave it
    return network


def of_version_4(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names that transformers 4 gave them, as on the Hub."""
    named = {}
    for key, tensor in state.items():
        name = key.replace(".o_proj.", ".output.dense.")
        for new, old in OLD_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.")
        named[name] = tensor
    return named


@pytest.mark.parametrize("version", [dict, of_version_4])
@pytest.mark.parametrize("num_registers", [0, 4])
def test_transformers_names_become_timms_and_give_the_same_features(
    num_registers: int, version: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
) -> None:
    theirs = dinov2(num_registers)
    state = version(theirs.state_dict())
    assert any("attention.attention.query" in key for key in state) == (version is of_version_4)
    named = with_timm_names(state, source="test")
    assert named.pop("mask_token").shape[-1] == 32
    ours = vit(num_registers)
    ours.load_state_dict(named, strict=True)
    images = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        found = ours.eval().forward_features(images)
    assert found.shape == (2, 26 + num_registers, 32)
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("num_registers", [0, 4])
def test_metas_names_are_read_as_timm_reads_them(num_registers: int) -> None:
    model = with_random_values(vit(num_registers))
    meta = dict(model.state_dict()) | {"mask_token": torch.ones(1, 32)}
    if num_registers:
        positions = torch.randn(1, 26, 32, generator=torch.Generator().manual_seed(1))
        meta |= {"register_tokens": meta.pop("reg_token"), "pos_embed": positions}
    expected = checkpoint_filter_fn(dict(meta), model)
    found = with_timm_names(meta, source="test")
    assert set(found) == set(expected) | {"mask_token"}
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    model.load_state_dict(expected, strict=True)


@pytest.mark.parametrize("num_registers", [0, 4])
def test_patches_and_positions_are_resampled_as_timm_does(num_registers: int) -> None:
    source = with_random_values(vit(num_registers)).state_dict()
    target = vit(num_registers, patch_px=16, size_px=96)
    state, changes = with_patches_of(target, source, source="test")
    expected = checkpoint_filter_fn(dict(source), target)
    assert set(state) == set(expected)
    assert all(torch.equal(state[key], tensor) for key, tensor in expected.items())
    tokens = 0 if num_registers else 1
    assert [asdict(change) for change in changes] == [
        {"tensor": "patch_embed.proj.weight", "before": (32, 3, 14, 14), "after": (32, 3, 16, 16)},
        {"tensor": "pos_embed", "before": (1, 25 + tokens, 32), "after": (1, 36 + tokens, 32)},
    ]
    patches = resample_patch_embed(source["patch_embed.proj.weight"], [16, 16])
    assert torch.equal(state["patch_embed.proj.weight"], patches)
    grid = {"new_size": [6, 6], "old_size": [5, 5], "num_prefix_tokens": tokens}
    assert torch.equal(state["pos_embed"], resample_abs_pos_embed(source["pos_embed"], **grid))
    assert with_patches_of(vit(num_registers), source, source="test") == (source, ())


def test_positions_of_another_kind_are_refused() -> None:
    source = vit(0).state_dict()
    with pytest.raises(
        TransferError, match=r"test: the 26 positions .* no token and a square grid"
    ):
        with_patches_of(vit(4, patch_px=16, size_px=96), source, source="test")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a DINOv2 with a head as transformers does, of the size of timm's ViT-S/14."""
    model = with_random_values(
        Dinov2ForImageClassification(Dinov2Config(**SMALL, patch_size=14, num_labels=3))
    )
    folder = tmp_path_factory.mktemp("published")
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_published_dinov2_arrives_whole_in_a_body_of_16_px(published: Path) -> None:
    state = published_start(ARCHITECTURE, published / "model.safetensors", source="test")
    body = pyramid_body(ARCHITECTURE, size_px=512)
    record = transfer(body, state, source="test")
    assert record.arrived
    assert len(record.matched) == len(body.state_dict()) == 172
    assert set(record.unexpected) == {
        "classifier.bias", "classifier.weight", "mask_token", "norm.bias", "norm.weight",
    }  # fmt: skip
    assert [change.after for change in record.resampled] == [(384, 3, 16, 16), (1, 1025, 384)]
    # The card of a backbone finds the detectors that started from it, resampled or not.
    keys, (resampled, _) = list(body.state_dict()), with_patches_of(body, state, source="test")
    assert is_source(record.as_json(), resampled, keys=keys)
    assert not is_source(record.as_json(), state, keys=keys)
    # timm's own reading of the same tensors into a network of 16-px patches.
    plain = timm.create_model(ARCHITECTURE, patch_size=16, dynamic_img_size=True)
    of_network = {key: tensor for key, tensor in state.items() if "classifier" not in key}
    plain.load_state_dict(checkpoint_filter_fn(of_network, plain), strict=True)
    images = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (found,) = body.eval()(images)
        (expected,) = plain.eval().forward_intermediates(images, indices=1, intermediates_only=True)
    assert found.shape == (1, 384, 6, 4)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 12}, r"has num_attention_heads 12; vit_small_patch14_dinov2 has"),
        ({"hidden_size": 768, "patch_size": 16}, r"has hidden_size 768, patch_size 16; vit_small"),
        ({"model_type": "dinov3_vit"}, r"is of the kind dinov3_vit, .* timm/vit_small_patch16_din"),
        ({"model_type": "\x1b[2J"}, r"is of the kind \\x1b\[2J"),
        (
            {"architecture": "resnet50"},
            r"test is a resnet50; the recipe has a vit_small.* Set body",
        ),
    ],
    ids=str,
)
def test_weights_of_another_network_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    config = Dinov2Config(**SMALL, patch_size=14).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert published_start(ARCHITECTURE, file, source="test").keys() == {"a"}
    with pytest.raises(TransferError, match="resnet18 is no plain vision transformer"):
        published_start("resnet18", file, source="test")
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(TransferError, match=message):
        published_start(ARCHITECTURE, file, source="test")
    (tmp_path / "config.json").write_text("{" * 100)
    with pytest.raises(DataError, match=r"Expected the config\.json of a timm repository"):
        published_start(ARCHITECTURE, file, source="test")


def test_files_of_parts_or_of_two_networks_are_refused(tmp_path: Path) -> None:
    state = dinov2(0).state_dict()
    less = {key: tensor for key, tensor in state.items() if "layer.1.attention.k_" not in key}
    with pytest.raises(TransferError, match=r"no key for blocks\.1\.attn\.qkv\.weight"):
        with_timm_names(less, source="test")
    with pytest.raises(TransferError, match="two tensors for cls_token, cls_token the second"):
        with_timm_names(state | {"cls_token": torch.zeros(1, 1, 32)}, source="test")
    file = tmp_path / "weights.bin"
    torch.save(state, file)
    with pytest.raises(TransferError, match=r"is not safetensors .* A pickle can run any code"):
        published_start(ARCHITECTURE, file, source="test")


@pytest.mark.slow
def test_missing_and_further_tensors_are_found_by_the_audit(published: Path) -> None:
    state = load_file(published / "model.safetensors")
    prefix = "dinov2.encoder.layer.3.mlp.fc1"
    less = {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}
    body = pyramid_body(ARCHITECTURE, size_px=512)
    before = {key: tensor.clone() for key, tensor in body.state_dict().items()}
    with pytest.raises(TransferError, match=r"2 \(model\.blocks\.3\.mlp\.fc1\.bias, .* missing"):
        transfer(body, with_timm_names(less, source="test"), source="test")
    assert all(torch.equal(before[key], tensor) for key, tensor in body.state_dict().items())


def test_terms_are_those_that_a_file_or_timm_states(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    header = {"license": "dinov3-\x1blicense", "source": "timm/x@c0ffee, " + "y" * 999}
    save_file({"a": torch.zeros(1)}, file, metadata=header)
    terms = stated_terms("published", "resnet50", file, None)
    assert terms.licence == "dinov3-\\x1blicense"
    assert terms.origin is not None
    assert terms.origin.startswith("timm/x@c0ffee, y")
    assert len(terms.origin) == 200
    assert stated_terms("published", "resnet50", file, "mit").licence == "mit"
    save_file({"a": torch.zeros(1)}, file, metadata={"license": "none named"})
    assert stated_terms("published", "resnet50", file, None).licence is None
    assert stated_terms("imagenet", "vit_small_patch14_dinov2", None, None).licence == "apache-2.0"
    assert stated_terms("random", "resnet50", None, None).licence is None


def test_grey_levels_other_than_those_of_the_weights_are_told(tmp_path: Path) -> None:
    weights, recipe = tmp_path / "model.safetensors", Intensity(True, 0.449, 0.226)
    assert other_levels(weights, recipe, source="here") is None  # nothing is stated
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}
        )
    )
    assert other_levels(weights, recipe, source="here") is None
    assert other_levels(weights, Intensity(True, 0.5, 0.25), source="here") == (
        "here was trained on grey levels normalised by mean 0.449 and standard deviation 0.226 "
        "(over its colours), and the recipe has 0.5 and 0.25. Set intensity.mean and "
        "intensity.std to these, unless it is meant."
    )
    stated = tmp_path / "preprocessor_config.json"  # that of transformers is the nearer one
    stated.write_text(json.dumps({"image_mean": [0.53, 0.53, 0.53], "image_std": [0.26] * 3}))
    assert "mean 0.53 and" in str(other_levels(weights, recipe, source="here"))
    for damaged in ("[", json.dumps({"image_mean": ["a"], "image_std": 0.2}), "[" * 10_000):
        stated.write_text(damaged)
        assert other_levels(weights, recipe, source="here") is None


@pytest.mark.parametrize(
    ("of", "into", "message"),
    [
        ("vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "missing"),
        (
            "vit_small_patch14_dinov2",
            "vit_small_patch16_224",
            r"24 tensors .*0\.ls1\.gamma",
        ),
        ("vit_small_patch16_36x1_224", "vit_small_patch16_224", "tensors inside the network"),
        ("vit_small_patch32_224", "vit_small_patch16_224", "2 .*patch_embed.* of another shape"),
    ],
)
def test_weights_of_a_like_network_do_not_arrive_in_parts(
    of: str, into: str, message: str, tmp_path: Path
) -> None:
    """A deeper network, one with more scales, and one with other patches."""
    file = tmp_path / "weights.safetensors"
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in timm.create_model(of).state_dict().items()}
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, file)
    body = timm.create_model(into, num_classes=0)
    for start in (partial(published_start, source="here"), lambda *of: imagenet_start(*of)[0]):
        with pytest.raises(TransferError, match=message):
            transfer(body, start(into, file), source="here")
    said = {"architecture": of}
    save_file({key: torch.zeros(1) for key in shapes}, file, metadata=said)
    with pytest.raises(TransferError, match=f"holds weights of {of}; the recipe has a {into}"):
        published_start(into, file, source="here")


@pytest.mark.parametrize(
    "change",
    [
        {"pos_embed": torch.zeros(5)},
        {"pos_embed": torch.zeros(1, 1370)},
        {"pos_embed": torch.zeros(())},
        {"patch_embed.proj.weight": torch.zeros(384, 3, 0, 0)},
        {"patch_embed.proj.weight": torch.zeros(384, 3, 600, 600)},
        {"patch_embed.proj.weight": torch.zeros(1, 1, 256, 256)},
        {"register_tokens": torch.zeros(3), "pos_embed": torch.zeros(7)},
        {"cls_token": torch.zeros(1, 1, 384, dtype=torch.float16)},
    ],
    ids=lambda change: " ".join(f"{key} {tuple(value.shape)}" for key, value in change.items()),
)
def test_tensors_of_odd_shapes_are_refused_at_once(change: dict[str, Tensor]) -> None:
    body = pyramid_body(ARCHITECTURE, size_px=512)
    state = {
        key.removeprefix("model."): value for key, value in timm_state(ARCHITECTURE).items()
    } | change
    with pytest.raises(TransferError, match=r"Nothing was loaded\. (Use|There are)"):
        transfer(body, with_timm_names(state, source="here"), source="here")


def timm_state(architecture: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        known = timm.create_model(architecture).state_dict()
    return {key: torch.zeros(value.shape) for key, value in known.items()}
