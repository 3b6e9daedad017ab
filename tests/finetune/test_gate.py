"""The image-level gate of a run: its fit, its temperature, a detector that is else the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import DataError, RecipeError
from cxrssl.data.detection import examples_of, in_split, splits_of
from cxrssl.data.phantom import make_phantom
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import evaluate
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.finetune import finetune
from cxrssl.finetune import gate as gate_module
from cxrssl.finetune.gate import fit_temperature
from cxrssl.finetune.splits import check_gate_images
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.metrics.gate import gate_scores
from cxrssl.metrics.logistic import Fit, fit_logistic
from cxrssl.models.detector import detector_input
from cxrssl.models.detector_folder import load_detector
from support import ROOT, RTDETR, finetune_recipe, run_python

GATE = "gate={power: 1.0, drop_below: 0.2, weight_decay: 0.1}"
RUNS = ("plain", "gated")
CHANGES = ("max_steps=6", "validate_every_epochs=1", "model.score_threshold=0.01")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with both kinds of image in every split."""
    made = tmp_path_factory.mktemp("gate")
    sides = {"min_side_px": 200, "max_side_px": 260}
    make_phantom(made / "source", num_images=40, seed=5, normal_share=0.4, **sides)
    ingest(made / "source", made / "store", Settings(64), num_workers=1)
    return made / "store"


@pytest.fixture(scope="module")
def runs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the same detector with a gate and without."""
    out = tmp_path_factory.mktemp("runs")
    finetune(finetune_recipe(folder, *CHANGES), out / "plain", resume=False)
    finetune(finetune_recipe(folder, *CHANGES, GATE), out / "gated", resume=False)
    return out


def metrics_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return content


def made_features(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of different means and sizes, one of which is constant, and kinds."""
    generator = np.random.default_rng(seed)
    kinds = generator.random(80) < 0.4
    features = generator.normal(0, 1, (80, 6)) + kinds[:, None] * [1.0, -0.5, 0.2, 0, 0, 0]
    features = features * [1, 10, 0.01, 5, 100, 0] + [0, 3, 1, -200, 1e4, 7]
    return torch.from_numpy(features), torch.from_numpy(kinds)


@pytest.mark.parametrize("weight_decay", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_minimum_that_scipy_finds(seed: int, weight_decay: float) -> None:
    features, kinds = made_features(seed)
    fit = fit_logistic(features, kinds, weight_decay)
    varying, target = features.numpy()[:, :5], kinds.numpy().astype(float)
    inputs = (varying - varying.mean(axis=0)) / varying.std(axis=0)

    def loss(parameters: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        logits = inputs @ parameters[:5] + parameters[5]
        nll = np.mean(np.logaddexp(0, logits) - target * logits)
        slope = (expit(logits) - target) / len(target)
        gradient = [*(inputs.T @ slope + weight_decay * parameters[:5]), slope.sum()]
        return nll + weight_decay / 2 * parameters[:5] @ parameters[:5], np.array(gradient)

    best = minimize(loss, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-10})
    expected = inputs @ best.x[:5] + best.x[5]
    assert fit.logits(features).numpy() == pytest.approx(expected, abs=1e-6)
    assert (fit.num_constant, float(fit.weight[5])) == (1, 0.0)
    assert fit.gradient < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_the_one_that_scipy_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    kinds = generator.random(50) < 0.5
    logits = generator.normal(3 * kinds - 1, 2) * 4
    assert ((logits > 0) != kinds).any()
    target = kinds.astype(float)

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    best = minimize_scalar(loss, bounds=(0.05, 50), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(torch.from_numpy(logits), torch.from_numpy(kinds))
    assert found == pytest.approx(best.x, rel=1e-4)


def test_images_told_apart_perfectly_have_no_p_of_0_or_1() -> None:
    kinds = torch.tensor([True] * 4 + [False] * 4)
    logits = torch.where(kinds, 30.0, -30.0).double()
    temperature = fit_temperature(logits, kinds)
    assert (logits / temperature).sigmoid().tolist() == pytest.approx([5 / 6] * 4 + [1 / 6] * 4)


def test_logits_the_wrong_way_round_come_to_one_half() -> None:
    kinds = torch.tensor([True, False] * 4)
    logits = torch.where(kinds, -2.0, 2.0).double()
    temperature = fit_temperature(logits, kinds)
    assert temperature == 100.0
    assert (logits / temperature).sigmoid().tolist() == pytest.approx([0.5] * 8, abs=0.01)


def test_a_gate_leaves_the_detector_and_its_scores_before_it_as_they_are(runs: Path) -> None:
    plain, gated = (load_file(runs / f"{name}/detector/model.safetensors") for name in RUNS)
    assert set(gated) - set(plain) == {"model.gate.weight", "model.gate.bias"}
    assert all(torch.equal(gated[name], tensor) for name, tensor in plain.items())
    lines = [(runs / f"{name}/metrics.jsonl").read_bytes() for name in RUNS]
    assert lines[0] == lines[1]
    without, with_gate = (metrics_of(runs / name) for name in RUNS)
    assert "gate" not in without
    values = {name: entry["value"] for name, entry in without["metrics"].items()}
    assert with_gate["without_gate"] == values
    gated_values = {name: entry["value"] for name, entry in with_gate["metrics"].items()}
    assert gated_values != values


def test_the_record_of_a_gate_is_that_of_its_detector(runs: Path, folder: Path) -> None:
    record = metrics_of(runs / "gated")["gate"]
    assert (record["power"], record["drop_below"], record["weight_decay"]) == (1.0, 0.2, 0.1)
    store = Store(folder)
    examples = examples_of(store, fusion="consensus", iou=0.2)
    splits = splits_of(store, protocol="corrected", normals=True)
    for name in ("train", "val", "test"):
        of_split = in_split(examples, splits, name)  # type: ignore[arg-type]
        num_with = sum(len(example.boxes) > 0 for example in of_split)
        counts = record[name]["num_with_boxes"], record[name]["num_without_boxes"]
        assert counts == (num_with, len(of_split) - num_with)
    # The fit again, from the folder and the store alone.
    detector = load_detector(runs / "plain/detector")
    body = detector.body.eval()

    def features_of(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        rows, kinds = [], []
        for example in in_split(examples, splits, name):  # type: ignore[arg-type]
            pixels = detector.intensity.prepare(store.pixels(example.row)).copy()
            with torch.no_grad():
                image = detector_input([torch.from_numpy(pixels)[None]])[0]
                rows.append(body(((image - 0.5) / 0.25)[None])[-1].mean(dim=(2, 3))[0])
            kinds.append(len(example.boxes) > 0)
        return torch.stack(rows), torch.tensor(kinds)

    seen, kinds = features_of("train")
    unseen, unseen_kinds = features_of("val")
    fit = fit_logistic(seen, kinds, 0.1)
    temperature = fit_temperature(fit.logits(unseen), unseen_kinds)
    assert record["temperature"] == pytest.approx(temperature, rel=1e-3)
    gate = load_detector(runs / "gated/detector").model.gate
    features, _ = features_of("test")
    expected = (fit.logits(features) / temperature).sigmoid().tolist()
    assert gate(features).tolist() == pytest.approx(expected, abs=1e-3)  # type: ignore[operator]


def test_eval_has_the_scores_of_the_run_and_of_any_split(runs: Path, folder: Path) -> None:
    run = metrics_of(runs / "gated")
    again = evaluate(runs / "gated", folder, bootstrap=Bootstrap(0))
    assert again is not None
    assert again["gate"]["test"] == run["gate"]["test"]
    assert again["without_gate"] == run["without_gate"]
    values = {name: entry["value"] for name, entry in again["metrics"].items()}
    assert values == {name: entry["value"] for name, entry in run["metrics"].items()}
    on_val = evaluate(runs / "gated", folder, split="val", bootstrap=Bootstrap(0))
    assert on_val is not None
    for name, value in run["gate"]["val"].items():
        assert on_val["gate"]["val"][name] == pytest.approx(value, abs=1e-5)
    with_boxes = evaluate(runs / "gated", folder, normals=False, bootstrap=Bootstrap(0))
    assert with_boxes is not None
    assert with_boxes["gate"]["test"]["auroc"] is None
    assert "images are with boxes, so that none" in with_boxes["gate"]["test"]["reason"]
    plain = evaluate(runs / "plain", folder, bootstrap=Bootstrap(0))
    assert plain is not None
    assert "gate" not in plain
    assert "without_gate" not in plain


def products(run: Path) -> dict[str, bytes]:
    files = [*run.glob("detector/*"), *run.glob("best/*"), *run.glob("*.json*")]
    volatile = ("timing.json", "provenance.json", "length.json")
    return {str(f.relative_to(run)): f.read_bytes() for f in files if f.name not in volatile}


class Killed(Exception):  # noqa: N818 - it stands for the signal
    """Ends a run as a signal would."""


@pytest.mark.parametrize("moment", ["fit_temperature", "with_gate", "with_record"])
def test_a_run_killed_while_it_finishes_ends_with_the_same_bytes(
    moment: str, runs: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    recipe = finetune_recipe(folder, *CHANGES, GATE)
    with monkeypatch.context() as patched:
        patched.setattr(gate_module, moment, killed)
        if moment == "with_record":
            patched.setattr("cxrssl.finetune.with_record", killed)
        with pytest.raises(Killed):
            finetune(recipe, tmp_path / "run", resume=False)
    assert not (tmp_path / "run/metrics.json").exists()
    finetune(recipe, tmp_path / "run", resume=True)
    assert products(tmp_path / "run") == products(runs / "gated")


def test_a_gate_on_the_best_detector_is_fitted_on_that(folder: Path, tmp_path: Path) -> None:
    changes = ("max_steps=42", "validate_every_epochs=1", "keep=best", "model.score_threshold=0.0")
    run = tmp_path / "run"
    finetune(finetune_recipe(folder, *changes, GATE), run, resume=False)
    best, kept = (load_file(run / f"{name}/model.safetensors") for name in ("best", "detector"))
    assert set(kept) - set(best) == {"model.gate.weight", "model.gate.bias"}
    assert all(torch.equal(kept[name], tensor) for name, tensor in best.items())


def test_a_gate_that_tells_nothing_is_warned_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = finetune_recipe(folder, *CHANGES, GATE, "max_steps=2")
    finetune(recipe, tmp_path / "run", resume=False)
    auroc = metrics_of(tmp_path / "run")["gate"]["val"]["auroc"]
    warned = "no better than chance (AUROC" in " ".join(capsys.readouterr().err.split())
    assert warned == (auroc <= 0.5)
    fit = Fit(torch.zeros(2), torch.tensor(0.0), 0, gradient=1.0)
    scores = gate_scores(np.array([0.4, 0.6], np.float32), np.array([True, False]))
    stopped, chance = gate_module._warnings(fit, scores)
    assert "before its minimum" in stopped
    assert "the 2 validation images" in chance


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((RTDETR,), r"gate has no place in model\.family rtdetr_v2"),
        (("data.normals=false",), r"gate needs data\.normals: true"),
        (("validate_every_epochs=null",), "gate needs validate_every_epochs"),
        (("gate.power=-1",), r"gate\.power: Input should be greater than or equal to 0"),
        (("gate.drop_below=1.5",), r"gate\.drop_below: Input should be less than or equal to 1"),
        (("gate.weight_decay=0",), r"gate\.weight_decay: Input should be greater than 0"),
        (("gate={power: 1}",), r"gate\.drop_below: Field required"),
    ],
)
def test_a_gate_that_can_not_be_is_refused_in_the_recipe(
    changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune_recipe(Path("store"), *CHANGES, GATE, *changes)


def test_a_recipe_of_before_has_no_gate() -> None:
    recipe = finetune_recipe(Path("store"), *CHANGES)
    assert recipe.gate is None
    assert FinetuneRecipe.model_validate(recipe.model_dump(exclude={"gate"})) == recipe


def test_images_of_one_kind_are_refused_before_the_run_begins(folder: Path, tmp_path: Path) -> None:
    recipe = finetune_recipe(folder, *CHANGES, GATE, "data.label_fraction=0.04")
    message = r"1 of the 1 training images of .* have a box; a gate needs .* raise data\.label_frac"
    with pytest.raises(DataError, match=message):
        finetune(recipe, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()
    store = Store(folder)
    examples = examples_of(store, fusion="consensus", iou=0.2)
    empty = [example for example in examples if not len(example.boxes)]
    with pytest.raises(DataError, match=r"0 of the \d\d validation images .* have a box"):
        check_gate_images(store, {"training": examples, "validation": empty})
    check_gate_images(store, {"training": examples, "validation": examples})


@pytest.mark.slow
def test_two_processes_fit_the_gate_of_one(folder: Path, tmp_path: Path) -> None:
    changes = (*CHANGES, GATE, "max_steps=2", "model.norm=recalibrated")
    recipe = finetune_recipe(folder, *changes)
    finetune(recipe, tmp_path / "one", resume=False)
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "cxrssl")
    arguments = ("finetune", tmp_path / "recipe.yaml", "--out", tmp_path / "two")
    done = run_python("-m", *launcher, *arguments, folder=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (metrics_of(tmp_path / name)["gate"] for name in ("one", "two"))
    assert two["temperature"] == pytest.approx(one["temperature"], rel=1e-3)
    states = [load_file(tmp_path / f"{name}/detector/model.safetensors") for name in ("one", "two")]
    for name in ("model.gate.weight", "model.gate.bias"):
        assert torch.allclose(states[0][name], states[1][name], rtol=1e-2, atol=1e-4)
    assert two["train"] == one["train"]
    assert two["test"]["num_with_boxes"] == one["test"]["num_with_boxes"]
