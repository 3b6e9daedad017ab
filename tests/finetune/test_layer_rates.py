"""Rates by layer in a detector's loop, and how far its body moved: killed runs end the same."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cxrssl.config.load import load_recipe, to_yaml
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import RecipeError, RunError
from cxrssl.data.store import Store
from cxrssl.finetune import finetune
from cxrssl.finetune.initial_detector import initial_detector
from cxrssl.finetune.layer_rates import detector_optimizer
from cxrssl.finetune.similarity import Similarity
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.metrics.similarity import cka, gram
from cxrssl.models.detector import Detector, detector_input
from cxrssl.models.detector_folder import load_detector
from cxrssl.run.folder import RunFolder
from cxrssl.run.schedule import set_lr
from support import ROOT, RTDETR, finetune_recipe

FILE = "initial_similarities.safetensors"
MAPS = ["layer1", "layer2", "layer3", "layer4"]


class KilledError(Exception):
    """Stands for the end of a process."""


def started(store: Store, *changes: str) -> Detector:
    recipe = finetune_recipe(store.folder, *changes)
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    return initial_detector(recipe, store, images, torch.device("cpu"))[0]


@pytest.mark.parametrize("family", [(), (RTDETR,)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_the_body_has_lower_rates(family: tuple[str, ...], name: str, store: Store) -> None:
    changes = (*family, "optim.layer_decay=0.5", f"optim.name={name}", "model.norm=bn")
    detector = started(store, *changes)
    optimizer = detector_optimizer(detector, finetune_recipe(store.folder, *changes))
    scale_of = {
        id(parameter): group["lr_scale"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    body = {id(parameter): key for key, parameter in detector.body.named_parameters()}
    trained = [p for p in detector.model.parameters() if p.requires_grad]
    assert len(scale_of) == len(trained)
    for parameter in trained:
        is_body = id(parameter) in body
        assert (scale_of[id(parameter)] < 1) == is_body
    first, last = (
        scale_of[id(dict(detector.body.named_parameters())[key])]
        for key in ("layer1.0.conv1.weight", "layer4.0.conv1.weight")
    )
    assert first < last == 0.5


@pytest.mark.slow
def test_one_rate_for_all_is_a_decay_of_one_or_none(store_folder: Path, tmp_path: Path) -> None:
    logs = []
    for name, change in {"none": "null", "one": "1.0", "half": "0.5"}.items():
        recipe = finetune_recipe(store_folder, "max_steps=3", f"optim.layer_decay={change}")
        finetune(recipe, tmp_path / name, resume=False)
        logs.append((tmp_path / name / "metrics.jsonl").read_text())
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]
    rates = [[json.loads(line)["lr"] for line in log.splitlines()] for log in logs]
    assert rates[0] == rates[2]  # the logged one is that of the heads


def cut_after(
    steps: int, recipe: FinetuneRecipe, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a recipe until so many steps are done, and die."""
    step = iter(range(steps))

    def dying(optimizer: torch.optim.Optimizer, lr: float) -> None:
        if next(step, None) is None:
            raise KilledError
        set_lr(optimizer, lr)

    with monkeypatch.context() as patch:
        patch.setattr("cxrssl.finetune.set_lr", dying)
        with pytest.raises(KilledError):
            finetune(recipe, run, resume=False)


@pytest.mark.slow
@pytest.mark.parametrize("family", [(), (RTDETR,)])
def test_a_run_that_goes_on_ends_with_the_same_bytes(
    family: tuple[str, ...], store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = (*family, "optim.layer_decay=0.6", "max_steps=6", "checkpoint_every_steps=2")
    recipe = finetune_recipe(store_folder, *changes)
    finetune(recipe, tmp_path / "whole", resume=False)
    cut_after(5, recipe, tmp_path / "cut", monkeypatch)
    assert [path.name for path in (tmp_path / "cut/checkpoints").iterdir()] == ["step-00000004"]
    finetune(recipe, tmp_path / "cut", resume=True)
    for path in ("metrics.jsonl", "metrics.json", "detector/model.safetensors", FILE):
        assert (tmp_path / "cut" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_how_far_the_body_moved_is_measured_on_its_maps(
    store_folder: Path, store: Store, tmp_path: Path
) -> None:
    changes = ("max_steps=6", "optim.peak_lr=0.01")
    recipe = finetune_recipe(store_folder, *changes)
    product = finetune(recipe, tmp_path / "run", resume=False)
    values = json.loads((tmp_path / "run/metrics.json").read_text())["cka"]
    assert list(values) == MAPS
    assert all(0 < value < 0.999 for value in values.values())
    # By hand: maps of both bodies, averaged over 4 x 4 parts.
    train = labelled_splits(store, recipe).train
    assert len(train) < 64
    before, after = started(store, *changes), load_detector(product)
    grams = []
    for detector in (before, after):
        detector.model.eval()
        features: dict[str, list[torch.Tensor]] = {name: [] for name in MAPS}
        for example in train:
            pixels = torch.from_numpy(detector.intensity.prepare(store.pixels(example.row)))[None]
            image = detector.family.body_input(detector.model, detector_input([pixels]))
            with torch.no_grad():
                maps = detector.body(image)
            for name, one in zip(MAPS, maps, strict=True):
                side = one.shape[-1]
                rows = [slice(k * side // 4, -(-(k + 1) * side // 4)) for k in range(4)]
                parts = [one[0, :, y, x].mean(dim=(1, 2)) for y in rows for x in rows]
                features[name].append(torch.stack(parts, dim=1).flatten())
        grams.append({name: gram(torch.stack(rows)) for name, rows in features.items()})
    expected = {name: cka(grams[0][name], grams[1][name]) for name in MAPS}
    assert values == {name: pytest.approx(expected[name], abs=1e-4) for name in MAPS}


def test_a_body_that_was_frozen_has_not_moved(store_folder: Path, tmp_path: Path) -> None:
    changes = ("max_steps=3", "model.norm=recalibrated", "model.frozen_stages=3")
    finetune(finetune_recipe(store_folder, *changes), tmp_path / "run", resume=False)
    values = json.loads((tmp_path / "run/metrics.json").read_text())["cka"]
    assert [round(values[name], 9) for name in MAPS[:2]] == [1.0, 1.0]
    assert values["layer4"] < 1.0


def test_the_maps_of_a_run_without_its_start_have_no_value(store: Store, tmp_path: Path) -> None:
    detector = started(store)
    train = labelled_splits(store, finetune_recipe(store.folder)).train
    similarity = Similarity(store, train, RunFolder(tmp_path, writes=True))
    assert similarity.since_start(detector) == {"cka": None}  # as a run of an earlier version
    similarity.keep_start(detector, steps_done=1)
    assert not (tmp_path / FILE).exists()
    similarity.keep_start(detector, steps_done=0)
    assert set(load_file(tmp_path / FILE)) == set(MAPS)
    assert similarity.since_start(detector) == {"cka": dict.fromkeys(MAPS, pytest.approx(1.0))}
    (tmp_path / FILE).write_bytes(b"cut")
    with pytest.raises(RunError, match=r"initial_similarities.safetensors is damaged .* Delete"):
        similarity.since_start(detector)
    few = Similarity(store, train[:3], RunFolder(tmp_path / "few", writes=True))
    few.keep_start(detector, steps_done=0)
    assert few.since_start(detector) == {"cka": dict.fromkeys(MAPS)}


def test_measuring_leaves_the_network_as_it_was(store: Store, tmp_path: Path) -> None:
    detector = started(store)
    train = labelled_splits(store, finetune_recipe(store.folder)).train
    before = {key: value.clone() for key, value in detector.model.state_dict().items()}
    detector.model.train()
    Similarity(store, train, RunFolder(tmp_path, writes=True)).keep_start(detector, steps_done=0)
    assert detector.model.training
    assert all(torch.equal(before[k], v) for k, v in detector.model.state_dict().items())


def test_a_pretraining_takes_no_decay_of_layers() -> None:
    path = ROOT / "recipes/pretrain/smoke.yaml"
    with pytest.raises(RecipeError, match=r"a recipe has no key optim\.layer_decay"):
        load_recipe(path, PretrainRecipe, overrides=["optim.layer_decay=0.5"])
    recipe = load_recipe(path, PretrainRecipe, overrides=[])
    assert "layer_decay" not in to_yaml(recipe)  # earlier runs go on as they are
