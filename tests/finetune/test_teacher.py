"""The teacher and its student: what counts, what is carried over, and going on after a kill."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cxrssl.config.label_savers import UnlabelledSection
from cxrssl.core.errors import RunError
from cxrssl.core.geometry import Geometry, identity, turned
from cxrssl.core.pixels import warped
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.data.unlabelled import TwoViews
from cxrssl.finetune import finetune
from cxrssl.finetune.pseudo_boxes import PseudoBoxes, no_boxes, num_matched, summary
from cxrssl.finetune.setup import Setup, set_up
from cxrssl.finetune.teacher import (
    Teacher,
    of_next_image,
    pseudo_boxes,
    ramp_at,
    relation_loss,
    strong_view,
)
from cxrssl.run.checkpoint import Checkpoints
from cxrssl.run.seed import image_seeds
from support import FCOS, RTDETR, finetune_recipe

AUGMENT = (
    "augment={scale: [0.8, 1.2], shift: 0.1, rotation_degrees: 8, gamma: [0.8, 1.2], "
    "contrast: [0.8, 1.2], brightness: [-0.1, 0.1], blur_sigma_px: [0, 0.5], "
    "noise_share: [0, 0.05], cutout: {most: 2, side: [0.05, 0.2]}}"
)
UNLABELLED = (
    "unlabelled={store: null, batch_size: 4, burn_in_steps: 2, threshold: 0.0, weight: 1.0, "
    "ramp_steps: 2, relation_weight: 0.1, known_normals: true, pseudo_boxes: teacher}"
)
CHANGES = (
    *(AUGMENT, UNLABELLED, "ema={decay: 0.9}", "data.label_fraction=0.4", "data.normals=true"),
    *("batch_size=4", "max_steps=6", "epochs=20", "log_every_steps=1", "optim.warmup_steps=1"),
    *("model.score_threshold=0.0", "model.detections_per_image=5"),
)


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def section(**changes: object) -> UnlabelledSection:
    fields = {
        "store": None, "batch_size": 4, "burn_in_steps": 10, "threshold": 0.7, "weight": 1.0,
        "ramp_steps": 4, "relation_weight": 0.0, "known_normals": False, "pseudo_boxes": "teacher",
    }  # fmt: skip
    return UnlabelledSection.model_validate(fields | changes)


@pytest.fixture(scope="module")
def run(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps, the first two without the teacher."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    finetune(finetune_recipe(store_folder, *CHANGES), out, resume=False)
    return out


@pytest.fixture(scope="module")
def setup(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The same before its first step."""
    out = tmp_path_factory.mktemp("setup") / "run"
    return set_up(finetune_recipe(store_folder, *CHANGES), out, resume=False)


def test_losses_of_images_without_labels_begin_after_the_burn_in(run: Path) -> None:
    of_step = {line["step"]: line for line in lines_of(run) if "lr" in line}
    parts = {"unlabelled_loss_objectness", "unlabelled_loss_classifier", "unlabelled_relation"}
    for step, line in of_step.items():
        found = {name for name in line if name.startswith("unlabelled")}
        assert found == (parts if step > 2 else set())
    metrics = json.loads((run / "metrics.json").read_text())["unlabelled"]
    counted = [line for line in lines_of(run) if "pseudo_images" in line]
    assert [line["step"] for line in counted] == [3, 4, 5, 6]
    assert metrics["pseudo_boxes"]["images"] == 16
    assert metrics["pseudo_boxes"]["boxes_per_image"] > 0
    assert metrics["images"] == 13
    assert metrics["known_normal"] > 0


def test_a_run_that_is_cut_goes_on_bit_for_bit(
    run: Path, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CutError(Exception):
        pass

    kept = Checkpoints.save_if_due

    def cut_after_the_fourth(self: Checkpoints, *arguments: object, steps_done: int) -> None:
        kept(self, *arguments, steps_done=steps_done)  # type: ignore[arg-type]
        if steps_done == 4:
            raise CutError

    recipe = finetune_recipe(store_folder, *CHANGES, "checkpoint_every_steps=3")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_if_due", cut_after_the_fourth)
        with pytest.raises(CutError):
            finetune(recipe, tmp_path / "cut", resume=False)
    finetune(recipe, tmp_path / "cut", resume=True)
    for name in ("detector/model.safetensors", "metrics.jsonl", "metrics.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (run / name).read_bytes(), name


def test_a_checkpoint_without_its_average_is_named(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = finetune_recipe(store_folder, *CHANGES, "max_steps=4")
    monkeypatch.setattr("cxrssl.finetune.finish", lambda *_, **__: tmp_path)
    finetune(recipe, tmp_path / "run", resume=False)
    (average,) = (tmp_path / "run").glob("checkpoints/step-*/average.safetensors")
    average.unlink()
    with pytest.raises(RunError, match=r"damaged.*expected .*average\.safetensors"):
        finetune(recipe, tmp_path / "run", resume=True)


def test_the_teacher_follows_and_is_what_is_kept(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[Setup, dict[str, torch.Tensor]]] = []

    def watched(setup: Setup, *_: object, **__: object) -> Path:
        kept.append((setup, {k: v.clone() for k, v in setup.average.state_dict().items()}))  # type: ignore[union-attr]
        return tmp_path

    monkeypatch.setattr("cxrssl.finetune.finish", watched)
    start = set_up(finetune_recipe(store_folder, *CHANGES), tmp_path / "a", resume=False)
    finetune(finetune_recipe(store_folder, *CHANGES), tmp_path / "b", resume=False)
    ((setup, average),) = kept
    before = start.detector.model.state_dict()
    after = setup.detector.model.state_dict()
    name = next(key for key in after if key.endswith("box_predictor.cls_score.weight"))
    assert not torch.equal(average[name], before[name]), "it does not follow"
    assert not torch.equal(average[name], after[name]), "it is the student itself"
    assert setup.scored_model is setup.average
    del start


def test_what_is_in_the_weak_view_is_found_in_the_strong_one_by_its_box(setup: Setup) -> None:
    assert setup.unlabelled is not None
    ranges = setup.unlabelled.images.augment
    assert ranges is not None
    same_levels = replace(
        ranges, gamma=(1.0, 1.0), contrast=(1.0, 1.0), brightness=(0.0, 0.0),
        blur_sigma_px=(0.0, 0.0), noise_share=(0.0, 0.0), rotation_degrees=0.0,
    )  # fmt: skip
    images = replace(setup.unlabelled.images, flip_probability=0.5, augment=same_levels)
    flips = 0
    for place in range(len(images.rows)):
        view = images[Visit(1, place)]
        flips += view.weak_geometry.matrix[0, 0] * view.to_strong.matrix[0, 0] < 0
        # The weak view, moved, is the strong one.
        moved = warped(view.weak[0].numpy(), view.to_strong).astype(float)
        strong = view.strong[0].numpy().astype(float)
        assert np.abs(moved - strong)[8:-8, 8:-8].mean() < 4
        box = np.array([[20, 20, 44, 44]], np.float32)
        _, target = strong_view(view, PseudoBoxes(box, np.array([1])))
        assert np.allclose(target["boxes"].numpy(), view.to_strong.boxes(box), atol=1e-3)
    assert flips > 0


def test_what_is_written_is_the_average(run: Path) -> None:
    (file,) = run.glob("checkpoints/step-*/average.safetensors")
    average, student = load_file(file), load_file(file.with_name("model.safetensors"))
    written = load_file(run / "detector/model.safetensors")
    assert {name.removeprefix("model.") for name in written} == set(average)
    for name, tensor in written.items():
        assert torch.equal(tensor, average[name.removeprefix("model.")]), name
    assert any(not torch.equal(average[name], student[name]) for name in average)


def views_of(*geometries: Geometry) -> list[TwoViews]:
    pixels = torch.full((1, 64, 64), 100, dtype=torch.uint8)
    squares = np.array([[0, 0, 20, 20]])
    return [TwoViews(0, pixels, pixels, identity(), one, squares) for one in geometries]


def test_boxes_beyond_the_strong_view_are_left_out_and_squares_spare_the_others() -> None:
    shift = turned(scale=1.0, rotation_degrees=0.0, centre=(0.0, 0.0), shift_px=(40.0, 0.0))
    boxes = np.array([[2, 2, 12, 12], [30, 30, 60, 60], [5, 5, 5.2, 40]], np.float32)
    found = PseudoBoxes(boxes, np.array([1, 2, 3]))
    (here,), (there,) = views_of(identity()), views_of(shift)
    pixels, target = strong_view(here, found)
    assert target["labels"].tolist() == [1, 2]
    assert target["boxes"].tolist() == boxes[:2].tolist()
    assert bool((pixels == 100).all()), "a square over a box is not cut"
    _, moved = strong_view(there, found)
    assert moved["labels"].tolist() == [1]
    assert moved["boxes"].tolist() == [[42, 2, 52, 12]]
    bright = here._replace(strong=torch.full((1, 64, 64), 100, dtype=torch.uint8))
    bright.strong[0, :20, :20] = 250
    cut, _ = strong_view(bright, no_boxes())
    assert bool((cut[0, :20, :20] == cut[0, 0, 0]).all())
    assert int(cut[0, 0, 0]) < 130
    assert int(bright.strong[0, 0, 0]) == 250, "the batch itself stays"


def test_what_counts_is_strong_enough() -> None:
    detections = {
        "boxes": torch.tensor([[0.0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 8, 8]]),
        "scores": torch.tensor([0.9, 0.7, 0.69]),
        "labels": torch.tensor([2, 1, 1]),
    }
    found = pseudo_boxes(detections, threshold=0.7)
    assert found.labels.tolist() == [2, 1]
    assert found.boxes.shape == (2, 4)


def test_normal_images_keep_no_pseudo_box_and_silent_ones_do_not_count(
    setup: Setup, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = finetune_recipe(store_folder, *CHANGES)
    teacher = Teacher(setup, recipe, steps_done=2)
    assert setup.unlabelled is not None
    normal = setup.unlabelled.normal
    quiet, other = normal.index(True), normal.index(False)
    seen: list[list[int]] = []
    family = setup.detector.family
    seeds: list[Any] = []
    monkeypatch.setattr(family, "seed_samples", lambda _, drawn: seeds.append(drawn))

    def network(images: list[torch.Tensor], targets: list[dict[str, torch.Tensor]]) -> Any:  # noqa: ANN401
        seen.append([len(target["labels"]) for target in targets])
        assert len(images) == len(targets)
        zero = torch.zeros(())
        return {"loss_objectness": zero + 1, "loss_box_reg": zero + 1}

    box = PseudoBoxes(np.array([[5, 5, 30, 30]], np.float32), np.array([1]))
    views = [view._replace(place=place) for view, place in zip(
        views_of(identity(), identity(), identity()), (quiet, other, other), strict=True
    )]  # fmt: skip
    found = teacher._counted(views, [box, box, no_boxes()])
    shown = [strong_view(view, one) for view, one in zip(views, found, strict=True)]
    losses = teacher._losses(network, views, shown, 3)  # type: ignore[arg-type]
    assert seen == [[0, 1]], "the normal image is background, and the silent one is not looked at"
    assert float(losses["loss_objectness"]) == 1
    assert float(losses["loss_box_reg"]) == 0, "sides of pseudo boxes do not count"
    # Samples are drawn for the places after those of the labelled images, and not like theirs.
    assert list(seeds[0]) == list(image_seeds(recipe.seed, 3, [recipe.batch_size, 5]))
    silent = [strong_view(view, no_boxes()) for view in views[1:]]
    nothing = teacher._losses(network, views[1:], silent, 3)  # type: ignore[arg-type]
    assert seen[1] == [0]
    assert float(nothing["loss_objectness"]) == 0, "with no box at all there is no loss, and no NaN"


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["bn", "recalibrated"])
def test_a_real_step_without_any_box_is_finite_and_moves_nothing(
    norm: str, store_folder: Path, tmp_path: Path
) -> None:
    silent = UNLABELLED.replace("threshold: 0.0", "threshold: 1.0")
    changes = (*CHANGES, silent.replace("relation_weight: 0.1", "relation_weight: 0.0"))
    without = [c for c in CHANGES if c != UNLABELLED]
    norm = f"model.norm={norm}"
    finetune(
        finetune_recipe(store_folder, *changes, norm, "unlabelled.known_normals=false"),
        tmp_path / "a",
        resume=False,
    )
    finetune(finetune_recipe(store_folder, *without, norm), tmp_path / "b", resume=False)
    a, b = ((tmp_path / one / "detector/model.safetensors").read_bytes() for one in "ab")
    assert a == b


def test_the_weight_grows_evenly() -> None:
    assert [ramp_at(section(), step) for step in (10, 11, 12, 13, 14)] == [0.25, 0.5, 0.75, 1, 1]
    assert ramp_at(section(ramp_steps=0), 10) == 1


def test_shuffled_boxes_are_those_of_the_next_image() -> None:
    found = [PseudoBoxes(np.empty((0, 4), np.float32), np.array([k])) for k in range(3)]
    assert [one.labels[0] for one in of_next_image(found, rank=0, num_processes=1)] == [1, 2, 0]


def test_the_relation_loss_sees_the_strong_views_that_the_student_learns_from(
    setup: Setup, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = finetune_recipe(store_folder, *CHANGES)
    teacher = Teacher(setup, recipe, steps_done=2)
    learned: list[torch.Tensor] = []
    compared: list[torch.Tensor] = []
    box = PseudoBoxes(np.array([[5, 5, 30, 30]], np.float32), np.array([1]))
    monkeypatch.setattr(teacher, "_look", lambda views: ([box] * len(views), torch.ones(2, 3)))

    def losses(_network: object, _views: object, shown: list[Any], _step: int) -> dict[str, Any]:
        learned.extend(pixels for pixels, _ in shown)
        return {}

    def rows(_model: object, images: list[torch.Tensor]) -> torch.Tensor:
        compared.extend(images)
        return torch.ones(len(images), 3, requires_grad=True)

    monkeypatch.setattr(teacher, "_losses", losses)
    monkeypatch.setattr(teacher, "_rows", rows)
    monkeypatch.setattr("cxrssl.finetune.teacher.relation_loss", lambda first, _: first.sum())
    teacher.backward(setup.detector.model, step=3)
    assert len(learned) == len(compared) > 0
    assert all(torch.equal(*pair) for pair in zip(learned, compared, strict=True))


def test_the_relation_loss_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7)
    expected = 0.0
    for i in range(5):
        rows = []
        for features in (student.detach(), teacher):
            row = [float(features[i] @ features[j]) for j in range(5)]
            length = sum(value**2 for value in row) ** 0.5
            rows.append([value / length for value in row])
        expected += sum((a - b) ** 2 for a, b in zip(*rows, strict=True))
    loss = relation_loss(student, teacher)
    assert loss.item() == pytest.approx(expected / 5, rel=1e-4)
    assert float(relation_loss(teacher, teacher)) == 0
    loss.backward()
    assert student.grad is not None


def test_pseudo_boxes_are_matched_once_each_by_class() -> None:
    true = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 29], [0, 20, 5, 25]], np.float32)
    found = PseudoBoxes(boxes, np.array([1, 1, 2, 1]))
    assert num_matched(found, true, np.array([1, 1])) == 1
    assert num_matched(found, true, np.array([1, 2])) == 2
    assert num_matched(no_boxes(), true, np.array([1, 2])) == 0


def test_the_summary_adds_up_what_was_logged() -> None:
    line = {
        "pseudo_images": 4, "pseudo_boxes": 6, "pseudo_images_compared": 2,
        "pseudo_boxes_compared": 4, "pseudo_boxes_true": 3, "hidden_boxes": 6,
        "pseudo_boxes/Nodule": 6,
    }  # fmt: skip
    worth = summary([{"lr": 1.0}, line, line])
    assert worth == {
        "steps": 2, "images": 8, "boxes_per_image": 1.5,
        "boxes_per_image_by_class": {"Nodule": 1.5}, "precision": 0.75, "recall": 0.5,
    }  # fmt: skip
    assert summary([])["precision"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("family", "loss"), [(RTDETR, "loss_vfl"), (FCOS, "loss_classification")])
def test_another_family_has_a_teacher_too(
    family: str, loss: str, store_folder: Path, tmp_path: Path
) -> None:
    changes = [change for change in CHANGES if not change.startswith("model.")]
    recipe = finetune_recipe(store_folder, family, *changes, "max_steps=3")
    finetune(recipe, tmp_path / "run", resume=False)
    names = {name for name in lines_of(tmp_path / "run")[2] if name.startswith("unlabelled")}
    assert names == {f"unlabelled_{loss}", "unlabelled_relation"}


def test_no_box_for_long_is_said_once(
    store: Store, setup: Setup, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from cxrssl.finetune.pseudo_boxes import PseudoBoxLog
    from cxrssl.run.log import Log

    assert setup.unlabelled is not None
    log = Log(tmp_path / "metrics.jsonl", 100, num_steps=2000, steps_done=0, writes=True)
    counted = PseudoBoxLog(setup.unlabelled, store.classes, threshold=0.9)
    view = setup.unlabelled.images[Visit(0, 0)]
    box = PseudoBoxes(np.array([[5, 5, 30, 30]], np.float32), np.array([1]))
    for step in range(1, 1201):
        counted.add([view], [box if step == 150 else no_boxes()])
        counted.write_if_due(setup.accelerator, log, steps_done=step, epoch=0)
        said = capsys.readouterr().err
        assert ("WARNING: " in said) == (step == 700), step
    assert "unlabelled.threshold 0.9 in the last 500 steps" in lines_said(setup, counted)


def test_hidden_boxes_are_mirrored_with_the_image_that_the_teacher_sees(
    store: Store, setup: Setup, tmp_path: Path
) -> None:
    from cxrssl.finetune.pseudo_boxes import PseudoBoxLog
    from cxrssl.run.log import Log

    assert setup.unlabelled is not None
    mirrored, seen = replace(setup.unlabelled.images, flip_probability=1.0), 0
    for place, truth in setup.unlabelled.truth.items():
        width, boxes = store.manifest["size_px"], truth.boxes.reshape(-1, 4)
        there = boxes.copy()
        there[:, 0], there[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
        log = Log(tmp_path / f"{place}.jsonl", 1, num_steps=9, steps_done=0, writes=True)
        counted = PseudoBoxLog(setup.unlabelled, store.classes, threshold=0.1)
        counted.add([mirrored[Visit(0, place)]], [PseudoBoxes(there, truth.labels + 1)])
        counted.write_if_due(setup.accelerator, log, steps_done=1, epoch=0)
        (line,) = [json.loads(one) for one in log_lines(tmp_path / f"{place}.jsonl")]
        assert line["pseudo_boxes_true"] == line["hidden_boxes"] == len(boxes)
        seen += len(boxes)
    assert seen > 5


def log_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def lines_said(_setup: Setup, counted: Any) -> str:  # noqa: ANN401
    counted._steps_without = 500
    return str(counted._nothing_found())
