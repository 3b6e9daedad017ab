"""What a training says at its end: the numbers of its own files, and commands that work."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from cxrssl.cli.show_gate import print_gate
from cxrssl.cli.show_summary import print_finetuning, print_next_after_ingest, print_pretraining
from cxrssl.core.files import write_json, write_text
from support import ROOT

GATE = {
    "gate": {
        "temperature": 1.5,
        "val": {
            **{"auroc": None, "calibration_error": None, "reason": "all 4 are with boxes"},
            **{"num_with_boxes": 4, "num_without_boxes": 0},
        },
        "test": {
            **{"auroc": 0.8761, "calibration_error": 0.1234, "reason": None},
            **{"num_with_boxes": 13, "num_without_boxes": 8},
            **{"num_emptied_with_boxes": 1, "num_emptied_without_boxes": 5},
        },
    },
    "without_gate": {"AP": 0.4, "AP50": None},
}
TIMING = {"steps": 90, "seconds": 400.0, "share_waiting_for_data": 0.31}


def pretrained(folder: Path, **metrics: object) -> Path:
    content = {"loss": 3.21456, "rankme": 41.7, "rankme_start": 2.04, **metrics}
    (folder / "backbone").mkdir(parents=True)
    write_json(folder / "metrics.json", content)
    write_json(folder / "backbone/config.json", {"architecture": "resnet50"})
    return folder


def test_a_pretraining_tells_its_loss_against_chance_its_time_and_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = {"probe_auroc_start": 0.634, "probe_auroc": 0.712, "probe_findings": 6}
    run = pretrained(tmp_path / "my run", chance_loss=5.5, **probe)
    write_json(run / "timing.json", TIMING)
    store = tmp_path / "store"
    store.mkdir()
    write_json(store / "manifest.json", {"classes": ["Nodule"]})
    shutil.copy(ROOT / "recipes/pretrain/simclr_r50_paper.yaml", run / "recipe.yaml")
    print_pretraining(run, store)
    out, printed = capsys.readouterr()
    assert out == ""
    lines = dict(line.split(": ", 1) for line in printed.splitlines())
    assert lines["pretrained"] == str(run)
    assert lines["loss"] == "3.215 (a representation without information: 5.5)"
    assert lines["RankMe"] == "41.7 dimensions, 2.0 at the start"
    assert lines["probe AUROC"] == "0.712, 0.634 at the start (chance: 0.5; findings counted: 6)"
    assert lines["time"] == (
        "7 min for 90 steps, 31% of it waiting for images (more data.num_workers may help)"
    )
    # The detector of the same backbone, from the recipe of the like name.
    assert lines["next"].startswith("cxrssl finetune finetune/faster_rcnn_r50_paper --set ")
    assert f"--set 'init.backbone={run}/backbone'" in lines["next"]


def test_a_method_without_chance_a_pool_without_boxes_and_an_old_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pretrained(tmp_path / "run", chance_loss=None)
    (run / "backbone/config.json").write_text('{"architecture": "of nobody"}')
    write_text(run / "recipe.yaml", "task: pretrain\n")
    print_pretraining(run, tmp_path / "pool")
    printed = capsys.readouterr().err
    assert "loss: 3.215\n" in printed
    assert "time:" not in printed
    assert "probe" not in printed
    assert "next: cxrssl finetune RECIPE --set data.store=STORE " in printed


def test_a_fine_tuning_tells_its_scores_with_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"value": 0.4321, "low": 0.40, "high": 0.47}
    undefined = {"value": None, "low": None, "high": None, "reason": "no box in the test images"}
    write_json(
        tmp_path / "metrics.json", {"metrics": {"AP": entry, "AP50": undefined}, "n_images": 21}
    )
    write_json(tmp_path / "timing.json", TIMING | {"share_waiting_for_data": 0.05})
    print_finetuning(tmp_path, Path("stores/mine"))
    printed = capsys.readouterr().err
    assert "AP: 0.432 [0.400, 0.470] (95 %), 21 test images\n" in printed
    assert "AP50: not defined (no box in the test images), 21 test images\n" in printed
    assert "5% of it waiting for images\n" in printed
    assert f"next: cxrssl predict {tmp_path} FILES --out found\n" in printed
    assert f"all scores: cxrssl eval {tmp_path} --data stores/mine\n" in printed


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            {"images": 60, "boxes_per_image": 1.25, "precision": 0.533, "recall": 0.127},
            "1.25 an image in 60 images of the steps that were logged; against hidden boxes "
            "precision 0.53, recall 0.13\n",
        ),
        (
            {"images": 60, "boxes_per_image": 0.0, "precision": None, "recall": 0.0},
            "none in 60 images of the steps that were logged: images without labels taught "
            "at most what background is\n",
        ),
        (
            {"images": 8, "boxes_per_image": 2.0, "precision": None, "recall": None},
            "2.00 an image in 8 images of the steps that were logged\n",
        ),
    ],
)
def test_a_fine_tuning_with_a_teacher_tells_what_its_boxes_were_worth(
    found: dict[str, float | None], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"value": 0.4321, "low": None, "high": None}
    metrics = {"metrics": {"AP": entry, "AP50": entry}, "n_images": 21}
    write_json(tmp_path / "metrics.json", metrics | {"unlabelled": {"pseudo_boxes": found}})
    print_finetuning(tmp_path, Path("stores/mine"))
    assert f"pseudo boxes: {text}" in capsys.readouterr().err


def test_a_fine_tuning_with_a_gate_tells_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"value": 0.4321, "low": None, "high": None}
    metrics = {"metrics": {"AP": entry, "AP50": entry}, "n_images": 21} | GATE
    write_json(tmp_path / "metrics.json", metrics)
    print_finetuning(tmp_path, Path("stores/mine"))
    printed = capsys.readouterr().err
    assert (
        "gate on test: AUROC 0.876, calibration error 0.123; 13 images with boxes, 8 without; it "
        "left 1 of the former and 5 of the latter no detection\n"
    ) in printed
    assert (
        "gate on validation: not defined (all 4 are with boxes); 4 images with boxes, 0 without; "
        "temperature 1.50\n"
    ) in printed
    assert "without the gate: AP 0.400, AP50 -\n" in printed


def test_eval_shows_the_scores_with_and_without_a_gate() -> None:
    console = Console(record=True, file=io.StringIO(), highlight=False)
    scores = ("AP", "AP50", "AP40", "froc_mean", "froc_at_0.5", "froc_at_1", "froc_at_2", "ece")
    without = dict.fromkeys(scores, 0.4) | {"AP40": None}
    content = {"metrics": {key: {"value": 0.45} for key in scores}, "without_gate": without}
    print_gate(console, content | {"split": "test", "gate": GATE["gate"]})
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["AP", "0.450", "0.400", "+0.050"] in lines
    assert not any(line[:1] == ["AP40"] for line in lines)
    assert ["gate:", "AUROC", "0.876,", "calibration"] in [line[:4] for line in lines]


@pytest.mark.parametrize("has_boxes", [True, False])
def test_an_ingest_says_what_a_store_is_for(
    has_boxes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    print_next_after_ingest(Path("my store"), has_boxes=has_boxes)
    printed = capsys.readouterr().err
    assert "next: cxrssl pretrain RECIPE --set 'data.store=my store' --out RUN\n" in printed
    assert ("cxrssl finetune RECIPE" in printed) == has_boxes


def test_a_name_in_a_summary_can_not_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pretrained(tmp_path / "run\x1b]0;pwn\x07", chance_loss=1.0)
    (run / "backbone/config.json").write_text(json.dumps({"architecture": "\x1b"}))
    write_text(run / "recipe.yaml", "task: pretrain\n")
    print_pretraining(run, tmp_path)
    assert "\x1b" not in capsys.readouterr().err
