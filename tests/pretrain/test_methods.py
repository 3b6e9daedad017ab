"""Every method runs from the command line to a backbone, and goes on bit for bit after a cut."""

import importlib
import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner

from cxrssl.cli import app
from cxrssl.config.load import to_yaml
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.preview import preview
from cxrssl.pretrain.start import build_pretext
from cxrssl.pretrain.timing import seconds_an_image
from support import METHOD_RECIPES, old_form, pretrain_recipe

SHORT = ("max_steps=6", "epochs=3", "log_every_steps=1", "checkpoint_every_steps=2")
SHORT += ("health_images=8", "max_chunk_images=3")
INTERRUPTED_AT = 5


def products(run: Path) -> dict[str, bytes]:
    files = [*run.glob("backbone/*"), run / "metrics.json", run / "metrics.jsonl"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", METHOD_RECIPES)
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
    method = {"name": recipe.method.name, "title": pretext.title, "paper": pretext.paper}
    assert metrics["method"] == method
    assert metrics.get("chance_loss") == pretext.chance_loss(recipe.batch_size)
    folder = tmp_path / "whole/backbone"
    encoder = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    assert encoder.pretrained_cfg["tag"] == f"{recipe.method.name}_cxr"
    trained, start = encoder.state_dict(), pretext.encoder.state_dict()
    assert trained.keys() == start.keys()
    assert all(not torch.equal(value, trained[key]) for key, value in start.items())


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
