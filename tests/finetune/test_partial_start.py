"""TransFusion's ablations: what is kept is the file's bit by bit, what is drawn has its moments."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RecipeError, TransferError
from cxrssl.core.images import Intensity
from cxrssl.core.yaml_text import parse_yaml
from cxrssl.data.store import Store
from cxrssl.finetune import finetune
from cxrssl.finetune.initial_detector import initial_detector
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.models.backbone import encoder, save_backbone
from cxrssl.models.detector import Detector
from cxrssl.models.partial_start import draw_like
from cxrssl.models.published.pyramid_cxr_rcnn import stage_parameters
from cxrssl.models.weights import is_source
from made_runs import made_plan
from support import ROOT, RTDETR, finetune_recipe

SMOKE = ROOT / "recipes/finetune/smoke.yaml"
CONV = "layer3.0.conv2.weight"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a backbone of which no tensor is as a network begins."""
    torch.manual_seed(1)  # the weights matter to no other test
    model = encoder("test_resnet")
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            else:
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    folder = tmp_path_factory.mktemp("ssl")
    intensity = Intensity(equalize=True, mean=0.5, std=0.25)
    save_backbone(model, folder, tag="test", size_px=64, intensity=intensity)
    return folder


@pytest.fixture(scope="module")
def weights(pretrained: Path) -> dict[str, Tensor]:
    return load_file(pretrained / "model.safetensors")


def started(store: Store, *changes: str) -> tuple[Detector, dict[str, object]]:
    recipe = finetune_recipe(store.folder, *changes)
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    detector, record = initial_detector(recipe, store, images, torch.device("cpu"))
    assert record is not None
    return detector, record


def body_of(store: Store, *changes: str) -> dict[str, Tensor]:
    return started(store, *changes)[0].body.state_dict()


def test_a_drawn_tensor_has_the_mean_and_variance_and_nothing_else() -> None:
    source = torch.rand(64, 64, 3, 3).pow(3) - 0.2
    drawn = draw_like(source, seed=5)
    count = source.numel()
    mean, variance = float(source.double().mean()), float(source.double().var(correction=0))
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * (variance / count) ** 0.5)
    assert float(drawn.var()) == pytest.approx(variance, rel=5 * (2 / count) ** 0.5)
    correlation = torch.corrcoef(torch.stack([source.flatten(), drawn.flatten()]))[0, 1]
    assert abs(float(correlation)) < 5 / count**0.5
    assert torch.equal(drawn, draw_like(source, seed=5))
    assert not torch.equal(drawn, draw_like(source, seed=6))
    # A normal: its third and fourth moments, which the source does not have.
    z = (drawn.double() - mean) / variance**0.5
    assert abs(float(z.pow(3).mean())) < 0.1
    assert float(z.pow(4).mean()) == pytest.approx(3, abs=0.2)
    assert torch.equal(draw_like(torch.tensor([2.5]), seed=0), torch.tensor([2.5]))


@pytest.mark.parametrize("norm", ["bn", "recalibrated"])
@pytest.mark.parametrize("origin", ["file", "run"])
def test_mean_var_draws_every_tensor_but_the_statistics(
    origin: str, norm: str, pretrained: Path, weights: dict[str, Tensor], store: Store
) -> None:
    source = {
        "file": f"init.weights={pretrained}/model.safetensors",
        "run": f"init.backbone={pretrained}",
    }[origin]
    changes = ("init.start=mean_var", source, f"model.norm={norm}")
    detector, record = started(store, *changes)
    state, body = detector.body.state_dict(), record["body"]
    assert body["kept"] == ()
    assert set(body["drawn"]) | set(body["random"]) == set(state)
    assert all("running_" in k or "num_batches" in k for k in body["random"])
    for key in body["drawn"]:
        source_tensor, count = weights[key].double(), weights[key].numel()
        mean, std = float(source_tensor.mean()), float(source_tensor.std(correction=0))
        assert float(state[key].mean()) == pytest.approx(mean, abs=5 * std / count**0.5), key
        assert not torch.equal(state[key], weights[key])
    if norm == "bn":
        statistics = [state[key] for key in state if key.endswith("running_var")]
        assert all(bool((values == 1).all()) for values in statistics)
    (audit,) = record["transfers"]
    assert (record["start"], audit["arrived"], audit["missing"]) == ("mean_var", True, ())
    assert str(pretrained) in audit["source"]
    assert audit["replaced"] == sorted(state)
    again = body_of(store, *changes)
    assert all(torch.equal(state[key], again[key]) for key in state)
    other = body_of(store, *changes, "seed=1")
    assert not torch.equal(state[CONV], other[CONV])


@pytest.mark.parametrize("keep", [0, 2, 5])
@pytest.mark.parametrize("start", ["random", "imagenet", "mean_var"])
def test_the_first_stages_are_the_files_and_the_rest_is_not(
    start: str, keep: int, pretrained: Path, weights: dict[str, Tensor], store: Store
) -> None:
    source = f"init.weights={pretrained}/model.safetensors"
    if start == "random":
        source = f"init.backbone={pretrained}"
    changes = (f"init.start={start}", source, f"init.keep_stages={keep}")
    detector, record = started(store, *changes)
    state, fresh = detector.body.state_dict(), body_of(store)
    kept_parameters = {
        name
        for stage in [keep]
        for name in (
            stage_parameters(encoder("test_resnet"), stage)
            if stage < 5
            else dict(encoder("test_resnet").named_parameters())
        )
    }
    modules = {name.rpartition(".")[0] for name in kept_parameters}
    expected = {key for key in state if key.rpartition(".")[0] in modules}
    body = record["body"]
    assert (body["keep_stages"], body["num_stages"]) == (keep, 5)
    assert set(body["kept"]) == expected
    for key, tensor in state.items():
        if key in expected:
            assert torch.equal(tensor, weights[key]), key
        elif key in body["random"]:
            assert torch.equal(tensor, fresh[key]), key
            assert not torch.equal(tensor, weights[key]), key
        else:
            assert start == "mean_var"
            assert not torch.equal(tensor, weights[key]), key
            assert not torch.equal(tensor, fresh[key]), key
    sizes = len(body["kept"]) + len(body["drawn"]) + len(body["random"])
    assert sizes == len(state)
    # Nothing else of the detector moves.
    plain, _ = started(store)
    rest = plain.model.state_dict()
    for key, tensor in detector.model.state_dict().items():
        if ".body." not in key:
            assert torch.equal(tensor, rest[key]), key


def test_an_rtdetr_keeps_and_draws_as_well(
    pretrained: Path, weights: dict[str, Tensor], store: Store
) -> None:
    changes = (RTDETR, "init.start=mean_var", f"init.backbone={pretrained}", "init.keep_stages=2")
    detector, record = started(store, *changes)
    state = detector.body.state_dict()
    assert torch.equal(state["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    drawn = body_of(store, "init.start=mean_var", f"init.backbone={pretrained}")
    assert torch.equal(state[CONV], drawn[CONV])
    assert CONV in record["body"]["drawn"]


def test_more_stages_than_there_are_is_an_error(pretrained: Path, store: Store) -> None:
    with pytest.raises(TransferError, match="keep_stages is 6, and test_resnet has 5 stages with"):
        started(store, f"init.backbone={pretrained}", "init.keep_stages=6")


def test_a_source_that_is_not_whole_is_refused_whatever_is_kept(
    pretrained: Path, weights: dict[str, Tensor], tmp_path: Path, store: Store
) -> None:
    last = [key for key in weights if key.startswith("layer4")][-1]
    save_file({k: v for k, v in weights.items() if k != last}, tmp_path / "cut.safetensors")
    source = f"init.weights={tmp_path}/cut.safetensors"
    for changes in (
        ("init.start=mean_var",),
        ("init.start=imagenet", "init.keep_stages=1"),
    ):
        with pytest.raises(TransferError, match=r"does not fit the backbone: 1 \(layer4"):
            started(store, *changes, source)


def test_a_backbone_that_was_replaced_is_no_ones_source(
    pretrained: Path, weights: dict[str, Tensor], store: Store
) -> None:
    keys = list(body_of(store))
    _, whole = started(store, f"init.backbone={pretrained}")
    _, part = started(store, f"init.backbone={pretrained}", "init.keep_stages=4")
    assert "body" not in whole
    assert "replaced" not in whole["transfers"][0]
    assert is_source(whole["transfers"][0], weights, keys=keys)
    assert not is_source(part["transfers"][0], weights, keys=keys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["init.keep_stages=1"], "keep_stages: 1 has nothing to keep: start: random without"),
        (
            ["init.start=coco", "init.keep_stages=1"],
            "start: coco fills the pyramid and the heads as well",
        ),
        (
            ["init.start=mean_var", "init.weights=a.safetensors", "init.backbone=b"],
            "start: mean_var has one source, got weights a.safetensors and backbone b",
        ),
        (["init.start=imagenet", "init.keep_stages=-1"], "keep_stages: Input should be greater"),
        (
            ["init.start=mean_var", "model.norm=frozen"],
            "start: mean_var has no statistics of images yet, and model.norm: frozen would",
        ),
        (
            ["init.start=imagenet", "init.keep_stages=3", "model.norm=frozen"],
            "a stage above init.keep_stages: 3 has no statistics of images yet",
        ),
        (
            ["init.start=imagenet", "init.keep_stages=1", "model.frozen_stages=2"],
            "model.frozen_stages: 2 would keep it so in these stages. Set frozen_stages to 1",
        ),
        (["optim.layer_decay=0"], "layer_decay: Input should be greater than 0"),
        (["optim.layer_decay=1.1"], "layer_decay: Input should be less than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(SMOKE, FinetuneRecipe, overrides=changes)


def test_kept_stages_may_be_frozen_and_random_ones_measured() -> None:
    for changes in (
        ["init.start=imagenet", "init.keep_stages=2", "model.frozen_stages=2"],
        ["init.start=mean_var", "init.keep_stages=2", "model.frozen_stages=2"],
        ["init.start=mean_var", "model.norm=recalibrated"],
    ):
        assert load_recipe(SMOKE, FinetuneRecipe, overrides=changes).init.is_partial


def test_a_run_records_its_start(pretrained: Path, store_folder: Path, tmp_path: Path) -> None:
    changes = (f"init.backbone={pretrained}", "init.keep_stages=3", "max_steps=1")
    finetune(finetune_recipe(store_folder, *changes), tmp_path / "run", resume=False)
    record = json.loads((tmp_path / "run/transfer.json").read_text())
    assert record["body"]["keep_stages"] == 3
    assert len(record["body"]["kept"]) > 20
    assert set(record["transfers"][0]["replaced"]) == set(record["body"]["random"])


def test_the_plan_of_the_documentation_is_one() -> None:
    text = (ROOT / "docs/methods.md").read_text()
    block = text.split("## What a start is worth")[1].split("```yaml\n")[1].split("```")[0]
    content = parse_yaml(block, source="docs/methods.md", kind="a plan's part")
    changes = [f"{name}={value}" for name, value in content.items()]
    plan = made_plan("data.source=.", *changes, name="corrected")
    recipe = ROOT / f"recipes/{plan.finetuning.recipe}.yaml"
    partial = []
    for section in plan.initialisations.values():
        # As the plan's runs have it: fields of the section replace those of the recipe.
        changes = [f"init.{name}={value}" for name, value in section.set["init"].items()]
        finetuning = load_recipe(recipe, FinetuneRecipe, overrides=changes)
        assert finetuning.validate_every_epochs is not None
        partial.append(finetuning.init.is_partial)
    assert partial == [False, True, True, True, False]
