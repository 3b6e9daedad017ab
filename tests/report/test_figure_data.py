"""What pictures show: boxes where a run's files have them, films that show each class."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrssl.core.files import write_json, write_text
from cxrssl.data.detection import Example, examples_of
from cxrssl.data.store import Store
from cxrssl.report.figure_data import (
    balance_figure,
    convergence_figures,
    curve_figures,
    fusion_figure,
)
from cxrssl.report.gallery import gallery_section
from cxrssl.report.results import FinishedArm, Results
from made_runs import made_plan, made_results
from support import finetune_recipe


@pytest.fixture
def examples(store: Store) -> list[Example]:
    return examples_of(store, fusion="consensus", iou=0.2)


def on_disk(results: Results, folder: Path) -> Results:
    return Results(
        [
            FinishedArm(finished.arm, folder / finished.arm.name, finished.result)
            for finished in results.arms
        ]
    )


def test_the_gallery_has_boxes_as_corners_and_classes_from_0(
    store: Store, examples: list[Example], tmp_path: Path
) -> None:
    plan = made_plan("gallery_images=2", "seeds=[1, 0]")
    results = on_disk(made_results(plan, lambda _: 0.3), tmp_path)
    example = next(finished for finished in examples if len(set(finished.readers)) > 1)

    def entry(score: float, x: float = 3.0) -> dict[str, object]:
        annotation = {"image_id": example.image_id, "bbox": [x, 4.0, 10.0, 20.0]}
        return annotation | {"category_id": 2, "score": score}

    strong = [entry(0.4), entry(0.9, x=7.0), entry(0.049), entry(0.05, x=1.0)]
    for finished in results.arms:
        weak = [entry(0.1)] if finished.arm.seed == 1 else []
        rows = strong if finished.arm.name == "ssl-50-seed1" else weak
        write_json(finished.folder / "predictions.json", rows)
    section = gallery_section(plan, results, store, [example])
    assert section is not None
    assert [arm["key"] for arm in section["arms"]] == [
        *("ssl-50-seed1", "control-50-seed1", "control-100-seed1"),
    ]
    (shown,) = section["images"]
    assert shown["found"]["ssl-50-seed1"] == [
        [7.0, 4.0, 17.0, 24.0, 1, 0.9],
        [3.0, 4.0, 13.0, 24.0, 1, 0.4],
        [1.0, 4.0, 11.0, 24.0, 1, 0.05],
    ]
    assert shown["found"]["control-50-seed1"] == [[3.0, 4.0, 13.0, 24.0, 1, 0.1]]
    assert len(shown["truth"]) == len(example.boxes)
    assert shown["truth"][0]["box"] == pytest.approx(example.boxes[0].tolist(), abs=0.051)
    assert shown["truth"][0]["support"] == example.support[0]
    assert {finished["name"]: len(finished["boxes"]) for finished in shown["readers"]} == {
        name: example.readers.count(name) for name in set(example.readers)
    }


def test_the_gallery_carries_boxes_of_the_original_to_the_store(
    store: Store, examples: list[Example], tmp_path: Path
) -> None:
    plan = made_plan("gallery_images=1")
    results = on_disk(made_results(plan, lambda _: 0.3), tmp_path)
    example = next(finished for finished in examples if len(finished.boxes))
    x0, y0, x1, y1 = example.boxes_original_px[0].tolist()
    box = [x0, y0, x1 - x0, y1 - y0]
    row = {"image_id": example.image_id, "bbox": box, "category_id": 1, "score": 0.9}
    for finished in results.arms:
        write_json(finished.folder / "predictions.json", {"annotations": [row]})
    section = gallery_section(plan, results, store, [example])
    assert section is not None
    (shown,) = section["images"]
    for rows in shown["found"].values():
        assert rows[0][:4] == pytest.approx(example.boxes[0].tolist(), abs=0.051)


def test_the_gallery_shows_rare_classes_first(
    store: Store, examples: list[Example], tmp_path: Path
) -> None:
    plan = made_plan("gallery_images=2")
    results = on_disk(made_results(plan, lambda _: 0.3), tmp_path)
    for finished in results.arms:
        write_json(finished.folder / "predictions.json", [])
    labels = [[0], [0], [0, 1], [0, 2], [2]]
    empty = np.zeros((0,), np.int64)
    shown = [
        replace(
            examples[number],
            boxes=np.zeros((len(labels_held), 4), np.float32),
            labels=np.array(labels_held, np.int64),
            support=np.ones(len(labels_held), np.int64),
            reader_boxes=np.zeros((0, 4), np.float32),
            reader_labels=empty,
            readers=(),
            box_of_mark=empty,
        )
        for number, labels_held in enumerate(labels)
    ]
    section = gallery_section(plan, results, store, shown)
    assert section is not None
    assert [finished["id"] for finished in section["images"]] == [
        shown[2].image_id,
        shown[3].image_id,
    ]
    assert "2 of 5 test images, taken to show many classes: 3 of the 3 with" in section["note"]
    assert gallery_section(made_plan("gallery_images=0"), results, store, shown) is None
    assert gallery_section(plan, Results([]), store, shown) is None


def test_a_loss_is_the_sum_of_its_parts_and_other_lines_are_no_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = made_plan()
    results = on_disk(made_results(plan, lambda _: 0.3), tmp_path)
    lines = [
        {"step": 5, "epoch": 0, "loss_classifier": 1.5, "loss_box_reg": 0.25, "lr": 0.1},
        {"step": 5, "epoch": 0, "AP50": 0.2},
    ]
    for finished in results.arms:
        write_text(finished.folder / "metrics.jsonl", "".join(f"{json.dumps(x)}\n" for x in lines))
    pretraining = tmp_path / "pretrain-simclr-50-seed0"
    write_text(pretraining / "metrics.jsonl", '{"step": 2, "epoch": 0, "loss": 3.5, "lr": 0.1}\n')
    write_json(pretraining / "metrics.json", {"chance_loss": 3.9, "loss": 3.5})
    drawn: list[dict[str, object]] = []

    def convergence(losses: dict[str, object], **looks: object) -> str:
        drawn.append({"losses": losses, "chance": looks.get("chance"), "ylabel": looks["ylabel"]})
        return "<svg/>"

    monkeypatch.setattr("cxrssl.report.figure_data.convergence", convergence)
    assert len(list(convergence_figures(plan, results))) == 2
    names = [finished.arm.name for finished in results.arms]
    assert drawn[0]["losses"] == {name: [(5, 1.75)] for name in names}
    assert drawn[1] == {
        "losses": {pretraining.name: [(2, 3.5)]},
        "chance": 3.9,
        "ylabel": "loss of pretraining",
    }
    write_json(pretraining / "metrics.json", {"loss": 3.5})  # of a method without a loss of chance
    (_, figure) = convergence_figures(plan, results)
    assert drawn[3]["chance"] is None
    assert figure["caption"] == "Loss of pretraining, on single batches."


def test_curves_begin_with_the_answers_metric_and_have_each_once() -> None:
    plan = made_plan("answer.metric=AR100_agnostic")
    captions = [
        figure["caption"] for figure in curve_figures(plan, made_results(plan, lambda _: 0.3))
    ]
    assert len(captions) == len(set(captions)) == 4
    assert captions[0].startswith("AR")


@pytest.mark.parametrize("paper", [True, False])
def test_the_papers_points_stand_in_plans_on_its_images_alone(
    paper: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = made_plan(f"paper={str(paper).lower()}", "data.source=.")
    references: list[list[tuple[float, float]]] = []

    def label_curve(
        _: object, *, metric: str, reference: list[tuple[float, float]], amounts: dict[float, str]
    ) -> str:
        assert amounts[0.5] == "100 films\n400 boxes"
        references.append(reference)
        return metric

    monkeypatch.setattr("cxrssl.report.figure_data.label_curve", label_curve)
    list(curve_figures(plan, made_results(plan, lambda _: 0.3)))
    assert (sorted(references[0])[:1] == [(0.1, 0.135)]) is paper
    assert any(references) is paper


def test_a_class_is_visited_as_often_as_its_images_are_repeated(
    store: Store, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: dict[str, list[float]] = {}

    def class_balance(_: object, *, before: list[float], after: list[float]) -> str:
        bars.update(before=before, after=after)
        return "<svg/>"

    monkeypatch.setattr("cxrssl.report.figure_data.class_balance", class_balance)
    train = [example for example in examples if len(example.labels)]
    rare = ("data.oversample_threshold=0.5", "data.oversample_rounding=ceil")
    assert balance_figure(finetune_recipe(Path("x"), *rare), store, train) is not None
    holds = [[label in example.labels for label in range(len(store.classes))] for example in train]
    fractions = np.mean(holds, axis=0)
    # Detectron2's rule, with the paper's ceiling: an image is seen as often as its rarest class.
    expected_factors = [
        max(
            np.ceil(np.sqrt(0.5 / fractions[k])) if 0 < fractions[k] < 0.5 else 1
            for k in example.labels
        )
        for example in train
    ]
    assert bars["before"] == np.sum(holds, axis=0).tolist()
    assert bars["after"] == (np.array(expected_factors) @ np.array(holds, float)).tolist()
    assert sum(bars["after"]) > sum(bars["before"])
    never = finetune_recipe(Path("x"), "data.oversample_threshold=null")
    assert balance_figure(never, store, train) is None


def test_fusion_is_shown_where_most_readers_agree(store: Store, examples: list[Example]) -> None:
    alone = [replace(example, support=np.ones_like(example.support)) for example in examples]
    assert fusion_figure(store, alone) is None
    assert fusion_figure(store, []) is None
    merged = [
        example for example in examples if (example.support > 1).any() and len(example.boxes) <= 8
    ]
    figure = fusion_figure(store, merged)
    assert figure is not None
    assert figure["svg"].startswith(("<svg", "<?xml"))
