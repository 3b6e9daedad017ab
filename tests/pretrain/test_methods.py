"""Every method runs from the command line to a backbone, and goes on bit for bit after a cut."""

import importlib
import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner

from cxrssl.cli.commands import app
from cxrssl.config.load import to_yaml
from cxrssl.core.errors import RecipeError, TrainingError
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.preview import preview
from cxrssl.pretrain.start import build_pretext
from cxrssl.pretrain.timing import seconds_an_image
from cxrssl.run.log import read_log
from support import METHOD_RECIPES, old_form, pretrain_recipe

SHORT = ("max_steps=6", "epochs=3", "log_every_steps=1", "checkpoint_every_steps=2")
SHORT += ("health_images=8", "max_chunk_images=3")
INTERRUPTED_AT = 5


def products(run: Path) -> dict[str, bytes]:
    files = [*run.glob("backbone/*"), run / "metrics.json", run / "metrics.jsonl"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


# Two of them soon, all of them with the slow tests.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("smoke", "moco_smoke") else pytest.mark.slow)
        for name in METHOD_RECIPES
    ],
)
def test_a_method_runs_and_goes_on_bit_for_bit_after_an_interrupt(
    name: str, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = pretrain_recipe(store_folder, *SHORT, name=name)
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    arguments = ["pretrain", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "whole")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    steps = []
    loop = importlib.import_module("cxrssl.pretrain")
    real = loop.set_lr

    def interrupting(optimizer: torch.optim.Optimizer, lr: float) -> None:
        real(optimizer, lr)
        steps.append(lr)
        if len(steps) == INTERRUPTED_AT:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "set_lr", interrupting)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "cut", resume=False)
    monkeypatch.undo()
    if recipe.method.name == "simclr":  # as if an earlier version had begun the run
        begun = tmp_path / "cut/recipe.yaml"
        begun.write_text(old_form(begun.read_text()))
    arguments = ["pretrain", "--resume", "--out", str(tmp_path / "cut")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert len(products(tmp_path / "whole")) == 4
    assert products(tmp_path / "cut") == products(tmp_path / "whole")

    metrics = json.loads((tmp_path / "whole/metrics.json").read_text())
    pretext, _ = build_pretext(recipe)
    losses = [line for line in read_log(tmp_path / "whole") if "lr" in line]
    compares = recipe.method.name not in ("jigsaw", "position")
    assert [("spread" in line) for line in losses] == [compares] * 6
    method = {"name": recipe.method.name, "title": pretext.title, "paper": pretext.paper}
    assert metrics["method"] == method
    assert metrics.get("chance_loss") == pretext.chance_loss(recipe.batch_size)
    folder = tmp_path / "whole/backbone"
    encoder = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    assert encoder.pretrained_cfg["tag"] == f"{recipe.method.name}_cxr"
    trained, start = encoder.state_dict(), pretext.encoder.state_dict()
    assert trained.keys() == start.keys()
    assert all(not torch.equal(value, trained[key]) for key, value in start.items())


@pytest.mark.parametrize("name", ["byol_smoke", "jigsaw_smoke"])
def test_a_transformer_is_trained_at_the_sizes_of_the_recipe(
    name: str, store_folder: Path, tmp_path: Path
) -> None:
    changes = ["body.backbone=vit_tiny_patch16_224", "max_steps=1", "epochs=1"]
    if name == "jigsaw_smoke":
        changes += ["views.size_px=64", "method.tile_px=16"]
    folder = pretrain(
        pretrain_recipe(store_folder, *changes, name=name), tmp_path / "run", resume=False
    )
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    assert opened(torch.zeros(1, 3, 64, 64)).shape == (1, 192)


@pytest.mark.parametrize(
    ("name", "backbone", "message"),
    [
        ("byol_smoke", "levit_128", r"levit_128 can't take images of views.size_px 64 px: .* Set"),
        ("jigsaw_smoke", "pit_ti_224", "of views.size_px 72 and method.tile_px 20 px: .* Set"),
        ("jigsaw_smoke", "mvitv2_tiny", "method.tile_px 20 px: Requested image size"),
        (
            *("jigsaw_smoke", "vit_tiny_patch16_224"),
            r"72.* divisible by patch size .* multiples of its patch of 16 px \(views\.size_px 64 "
            r"or 80, method\.tile_px 16 or 32\), or body\.backbone",
        ),
    ],
)
def test_a_backbone_that_cannot_take_the_sizes_is_refused_before_there_is_a_run(
    name: str, backbone: str, message: str, store_folder: Path, tmp_path: Path
) -> None:
    recipe = pretrain_recipe(store_folder, f"body.backbone={backbone}", name=name)
    with pytest.raises(RecipeError, match=f"body.backbone .*{message}"):
        pretrain(recipe, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


def test_weights_that_are_no_numbers_after_the_last_step_are_no_success(
    store_folder: Path, tmp_path: Path
) -> None:
    changes = ("max_steps=1", "epochs=1", "optim.name=sgd", "optim.peak_lr=1e38")
    with pytest.raises(TrainingError, match=r"features .* not finite: .* Lower optim\.peak_lr"):
        pretrain(pretrain_recipe(store_folder, *changes), tmp_path / "run", resume=False)
    assert not (tmp_path / "run/metrics.json").exists()
    assert not (tmp_path / "run/backbone").exists()


@pytest.mark.parametrize("name", METHOD_RECIPES)
def test_gradients_reach_the_encoder_and_nothing_that_follows(
    name: str, store_folder: Path
) -> None:
    pretext, _ = build_pretext(pretrain_recipe(store_folder, name=name))
    trained = {key for key, value in pretext.named_parameters() if value.requires_grad}
    assert {f"encoder.{key}" for key, _ in pretext.encoder.named_parameters()} <= trained
    assert not any("copy." in key for key in trained)
    assert len({id(value) for value in pretext.parameters()}) == len(list(pretext.parameters()))


@pytest.mark.parametrize("name", METHOD_RECIPES)
def test_what_a_method_is_given_is_shown_and_its_steps_are_timed(
    name: str, store_folder: Path, tmp_path: Path
) -> None:
    recipe = pretrain_recipe(store_folder, name=name)
    with Image.open(preview(recipe, tmp_path / "sheet.png")) as picture:
        assert min(picture.size) > 400
    assert 0 < seconds_an_image(recipe, torch.device("cpu")) < 60
