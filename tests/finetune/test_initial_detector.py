"""What a detector starts from: weights that arrive, norms as the recipe says, or a refusal."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import detection

from cxrssl.core.errors import DataError, RunError, TransferError
from cxrssl.core.images import Intensity
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions
from cxrssl.finetune.initial_detector import initial_detector
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.models.backbone import encoder, save_backbone
from cxrssl.models.detector import Detector, detector_input
from support import RTDETR, finetune_recipe

CPU = torch.device("cpu")
COCO = (
    "model.backbone=resnet50", "model.norm=frozen", "model.fpn_channels=256",
    "model.head_features=1024", "init.start=coco",
)  # fmt: skip


def started(store: Store, *changes: str) -> tuple[Detector, list[dict[str, object]]]:
    recipe = finetune_recipe(store.folder, *changes)
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    detector, record = initial_detector(recipe, store, images, CPU)
    assert record is not None
    return detector, record["transfers"]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write torchvision's detector as COCO_V1 is; at random weights, COCO's need a network."""
    torch.manual_seed(0)  # the weights matter to no other test
    model = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    state = {k: v for k, v in model.state_dict().items() if "num_batches_tracked" not in k}
    file = tmp_path_factory.mktemp("coco") / "coco.safetensors"
    save_file(state, file)
    return file


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)  # the weights matter to no other test
    folder = tmp_path_factory.mktemp("ssl")
    intensity = Intensity(equalize=True, mean=0.5, std=0.25)
    save_backbone(encoder("resnet50"), folder, tag="test", size_px=64, intensity=intensity)
    return folder


def test_a_coco_start_fills_all_but_the_classes_and_takes_torchvisions_eps(
    coco: Path, store: Store
) -> None:
    detector, (audit,) = started(store, *COCO, f"init.weights={coco}")
    assert audit["arrived"]
    assert len(audit["new"]) == 4
    assert len(audit["matched"]) + 4 == len(detector.model.state_dict())
    assert {m.eps for m in detector.body.modules() if hasattr(m, "running_var")} == {0.0}
    assert detector.config.norm_eps == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["recalibrated", "bn"])
def test_a_coco_start_goes_with_norms_that_take_statistics(
    norm: str, coco: Path, store: Store
) -> None:
    changes = [change for change in COCO if "norm" not in change]
    detector, (audit,) = started(store, *changes, f"init.weights={coco}", f"model.norm={norm}")
    assert audit["arrived"]
    assert detector.config.norm_eps is None
    target = {"boxes": torch.tensor([[3.0, 3, 40, 50]]), "labels": torch.tensor([1])}
    losses = detector.model.train()([torch.rand(3, 64, 64)] * 2, [target] * 2)
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


@pytest.mark.parametrize("start", ["imagenet", "coco", "backbone"])
def test_no_start_of_batch_norms_goes_into_a_body_of_group_norms(
    start: str, coco: Path, pretrained: Path, store: Store
) -> None:
    files = {
        "imagenet": ("init.start=imagenet", f"init.weights={pretrained}/model.safetensors"),
        "coco": (f"init.weights={coco}",),
        "backbone": ("init.start=random", f"init.backbone={pretrained}"),
    }
    with pytest.raises(TransferError, match=r"was trained with BatchNorm, and \d+ \(.*norm: gn"):
        started(store, *COCO, *files[start], "model.norm=gn")
    assert started(store, "model.norm=gn")[1] == []


@pytest.mark.slow
def test_an_ssl_body_comes_on_top_of_a_coco_detector(
    coco: Path, pretrained: Path, store: Store
) -> None:
    changes = (*COCO, f"init.weights={coco}", f"init.backbone={pretrained}")
    detector, (first, second) = started(store, *changes)
    plain, _ = started(store, *COCO, f"init.weights={coco}")
    assert first["arrived"]
    assert second["arrived"]
    ours, theirs = detector.model.state_dict(), plain.model.state_dict()
    state = load_file(pretrained / "model.safetensors")
    for key, tensor in ours.items():
        body_key = key.removeprefix("backbone.body.")
        assert torch.equal(tensor, theirs[key] if body_key == key else state[body_key]), key
    assert not torch.equal(theirs["backbone.body.conv1.weight"], state["conv1.weight"])
    # The norms of a body that timm trained keep timm's eps.
    assert {m.eps for m in detector.body.modules() if hasattr(m, "eps")} == {1e-5}


def test_recalibrated_norms_have_the_statistics_of_the_training_images(store: Store) -> None:
    changes = ("batch_size=100", "data.flip_probability=1.0")
    detector, _ = started(store, "model.norm=recalibrated", *changes)
    at_random, _ = started(store, "model.norm=bn", *changes)
    recipe = finetune_recipe(store.folder, *changes, "data.flip_probability=0.0")
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    batch = [
        torch.from_numpy(images.intensity.prepare(store.pixels(e.row)))[None]
        for e in images.examples
    ]
    pixels = detector.family.body_input(detector.model, detector_input(batch))
    bodies = [started_detector.body for started_detector in (detector, at_random)]
    first = bodies[0].conv1[0](pixels).detach()
    assert torch.allclose(bodies[0].conv1[1].running_mean, first.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(bodies[0].conv1[1].running_var, first.var((0, 2, 3)), rtol=1e-3)
    assert float(bodies[1].conv1[1].running_mean.abs().max()) == 0.0
    kinds = {type(m).__name__ for m in bodies[0].modules() if hasattr(m, "running_var")}
    assert all(kind.startswith("FrozenBatchNorm") for kind in kinds)


def test_a_norm_over_processes_is_refused_without_a_gpu(store: Store) -> None:
    with pytest.raises(RunError, match="norm sync needs CUDA GPUs, and this runs on cpu"):
        started(store, "model.norm=sync")


def test_every_number_of_a_recipe_reaches_the_detector(store: Store) -> None:
    recipe = finetune_recipe(
        store.folder, "model.box_loss=l1", "model.rpn_nms_iou=0.61", "model.roi_samples=31",
        "model.rpn_post_nms_test=17", "model.anchor_ratios=[0.5, 2.0]", "model.roi_align=sparse",
    )  # fmt: skip
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    detector, _ = initial_detector(recipe, store, images, CPU)
    for name, value in recipe.model.model_dump(exclude={"family"}).items():
        assert getattr(detector.config, name) == value, name
    model = detector.model
    assert type(model.rpn).__name__ == "L1RegionProposals"
    assert type(model.roi_heads).__name__ == "L1RoIHeads"
    assert type(model.roi_heads.box_roi_pool).__name__ == "SparseMultiScaleRoIAlign"
    assert model.rpn.nms_thresh == 0.61
    assert model.rpn._post_nms_top_n["testing"] == 17
    assert model.roi_heads.fg_bg_sampler.batch_size_per_image == 31
    assert model.rpn.anchor_generator.num_anchors_per_location() == [2] * 5


def test_images_of_a_size_that_rtdetr_would_not_see_are_refused(store: Store) -> None:
    changes = ("size_px=96", RTDETR)
    with pytest.raises(RunError, match="size_px is 96 and the store's images have 64 px"):
        started(store, *changes)


def test_an_rtdetr_starts_from_a_pretrained_body(store: Store, tmp_path: Path) -> None:
    torch.manual_seed(1)  # the weights matter to no other test
    intensity = Intensity(equalize=True, mean=0.5, std=0.25)
    source = encoder("test_resnet")
    save_backbone(source, tmp_path, tag="test", size_px=64, intensity=intensity)
    detector, (audit,) = started(store, RTDETR, f"init.backbone={tmp_path}")
    assert audit["arrived"]
    state = detector.body.state_dict()
    weights = source.state_dict()
    convolutions = [key for key in state if key.endswith("weight") and state[key].ndim == 4]
    assert len(convolutions) > 10
    assert all(torch.equal(state[key], weights[key]) for key in convolutions)


def test_a_pool_without_boxes_trains_no_detector(source: Path, tmp_path: Path) -> None:
    ingest(
        source / "train",
        tmp_path / "pool",
        Settings(64),
        options=ReadOptions("images"),
        num_workers=1,
    )
    with pytest.raises(DataError, match="pool is a pool of images without boxes"):
        started(Store(tmp_path / "pool"), "data.normals=false")


def test_a_start_that_can_not_be_had_stops_before_anything_is_written(store: Store) -> None:
    with pytest.raises(TransferError, match=r"gone\.safetensors is not a file"):
        started(store, "init.start=imagenet", "init.weights=gone.safetensors")
