"""Content of a report with something in every section, and with nothing in any.

What the report says of scores is its own, of made runs: three treatments at four label shares.
Its films, transfers and progress are made.
"""

import base64
import io
import math
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from cxrssl.config.arms import Arm, arms_of
from cxrssl.config.difference_words import Known
from cxrssl.config.plan import Plan
from cxrssl.core.images import Pixels
from cxrssl.drawing.balance import class_balance
from cxrssl.drawing.readings import Readings, fusion_examples
from cxrssl.metrics.definitions import PER_CLASS
from cxrssl.report.answer import answer, remarks, saved_by_fraction, saved_rows
from cxrssl.report.audit import definition_rows
from cxrssl.report.faults import fault_section
from cxrssl.report.figure_data import class_figure, curve_figures, saved_figure
from cxrssl.report.figures.runs import convergence
from cxrssl.report.images_used import images_used
from cxrssl.report.prior import prior_section
from cxrssl.report.results import Results
from cxrssl.report.tables import class_table, table_1, table_2
from cxrssl.report.target_figure import target_figures
from cxrssl.report.targets import reading_text, target_rows, targets_of
from cxrssl.report.treatments import treatment_section
from made_runs import REPLICATES, made_plan, made_result, made_results

STARTS = (("SimCLR from ImageNet", "ssl"), ("ImageNet", "control"), ("random", "other"))
"""Title and role."""
_GAINS = {"ssl": 0.02, "control": 0.0, "other": -0.06}
CLASSES = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD"),
    *("Infiltration", "Lung opacity", "Nodule/Mass", "Other lesion", "Pleural effusion"),
    *("Pleural thickening", "Pneumothorax", "Pulmonary fibrosis"),
)
_FRACTIONS = (0.1, 0.2, 0.5, 1.0)
_SIDE = 160
_EMPTY = {"svg": '<svg viewBox="0 0 400 300"></svg>', "caption": "A figure of nothing."}
_IMAGENET_HASH = "9c1f2f0b6d3c2ab5c7de80a91cbf0dd3a4b1ed7756d33f2c1e9a0b8f7d6c5e4f"


def made_content(*, running: bool = False, drawn: bool = False) -> dict[str, Any]:
    """Return content with something in every section.

    Args:
        running: Of a plan that has not ended.
        drawn: With figures as a report has them, which takes seconds, and not with empty ones.
    """
    content = deepcopy(_text_content())
    if drawn:
        content |= _figures()
        content["saved"]["figure"] = _saved_figure()
        content["targets"]["figures"] = _target_figures()
    return content | {"progress": _progress() if running else None}


def bare_content() -> dict[str, Any]:
    """Return what a plan has before its first arm has finished: every section is empty."""
    progress = {"is_running": False, "done": 0, "total": 0, "time_left": None}
    progress |= {"updated": "2026-11-26T00:00:00+00:00", "running": [], "failed": []}
    return {
        **_score_content(made_plan(), Results([])),
        **dict.fromkeys(("cautions", "facts", "curves", "convergence", "transfers"), ()),
        **dict.fromkeys(("provenance", "files"), ()),
        **dict.fromkeys(("class_curves", "balance", "fusion", "gallery", "learning"), None),
        "progress": progress,
    }


@cache
def _made_plan() -> Plan:
    starts = ", ".join(f"{role}: {{title: {title}}}" for title, role in STARTS[1:])
    ssl = f"ssl: {{title: {STARTS[0][0]}, pretraining: simclr, controls: [control]}}"
    return made_plan(
        f"initialisations={{{ssl}, {starts}}}",
        f"label_fractions={list(_FRACTIONS)}",
        "seeds=[0, 1, 2]",
        "answer.label_fraction=0.1",
        "faults=[0.1]",
        "paper=true",
        "answer.target={AP: 0.3}",
        "answer.reading={seconds_per_image: 40, seconds_per_box: 10}",
    )


@cache
def _made_results() -> Results:
    def score(arm: Arm) -> float:
        gain = _GAINS[arm.treatment] + 0.004 * arm.seed
        return max(0.004, 0.28 * (1 + 0.22 * math.log2(arm.label_fraction)) + gain)

    results = made_results(_made_plan(), score)
    nothing = made_result(None)
    counts = {name: {"n_boxes": 61 - 4 * n, "n_images": 9} for n, name in enumerate(CLASSES)}
    overlap = {"iou_mean": 0.58, "iou_std": 0.31, "iou_above_0.2_mean": 0.68}
    overlap |= {"iou_above_0.2_std": 0.15}
    cells = {name: {"value": value} for name, value in overlap.items()}
    pair = {"a": "R8", "b": "R9", "images": 41} | cells
    for finished in results.arms:
        scores = dict.fromkeys(PER_CLASS, finished.result["metrics"]["AP"])
        finished.result.update(
            {
                "per_class": dict.fromkeys(CLASSES, scores) | {"ILD": nothing["per_class"]["ILD"]},
                "classes": counts,
                "train_images": round(293 * finished.arm.label_fraction),
                "usage": _usage(finished.arm),
                "train_boxes": round(1180 * finished.arm.label_fraction),
                "train_reader_boxes": round(2630 * finished.arm.label_fraction),
                "train_readings": 3 * round(293 * finished.arm.label_fraction),
                "readers": {"pairs": [pair], "images": 41, "between_readers": cells},
                "prior": _made_prior(),
            }
        )
        if finished.arm.label_fraction == 0.1:  # no small boxes
            for key in ("metrics", "replicate_values"):
                finished.result[key] = finished.result[key] | {"AP_small": nothing[key]["AP_small"]}
    assert len(results.arms) == len(arms_of(_made_plan()))
    return results


def _usage(arm: Arm) -> dict[str, Any]:
    train = round(293 * arm.label_fraction)
    left_out = {"without a finding (data.normals is false)": 1010}
    if train < 293:
        share = f"{arm.label_fraction:g}"
        left_out[f"whose labels are not seen (data.label_fraction is {share})"] = 293 - train
    return {
        "stored": 1420,
        "used": {"train": train, "val": 42, "test": 75},
        "boxes": {"train": 4 * train + arm.seed, "val": 160, "test": 301},
        "left_out": left_out,
        "marks": 0,
        "marks_left_out": 0,
        "not_stored": 1,
    }


def _made_prior() -> dict[str, Any]:
    """Return fixed boxes as an evaluation has them, as far as the report looks at them."""
    names = ("froc_mean", "AP50")
    draws = np.random.default_rng(3).normal(0.2, 0.02, REPLICATES).tolist()
    return {
        "most_per_class": 10,
        "metrics": {name: {"value": 0.2} for name in names},
        "replicate_values": dict.fromkeys(names, draws),
    }


def _score_content(plan: Plan, results: Results) -> dict[str, Any]:
    """Return what the report says of scores, with an empty figure."""
    saved = saved_by_fraction(plan, results)
    text = "For each share of the labels: with how many the control reaches the same."
    rows = saved_rows(plan, saved)
    return {
        "plan": plan.name,
        "question": "How few boxes do you need?",
        "answer": answer(plan, results, saved),
        "remarks": remarks(plan, results),
        "treatments": treatment_section(plan, results, {}, Known()),
        "table1": table_1(plan, results),
        "table2": table_2(plan, results),
        "prior": prior_section(plan, results),
        "saved": {"text": text, "rows": rows, "figure": _EMPTY["svg"]} if saved else None,
        "targets": _target_section(plan, results),
        "class_table": class_table(plan, results, "AP"),
        "faults": fault_section(plan, results),
        "definitions": definition_rows(results),
        "images_used": images_used(results),
    }


def _target_section(plan: Plan, results: Results) -> dict[str, Any] | None:
    targets = targets_of(plan, results)
    if not targets:
        return None
    text = {"text": "How many films a target needs.", "reading": reading_text(plan)}
    return text | {"rows": target_rows(plan, targets), "figures": [_EMPTY]}


@cache
def _text_content() -> dict[str, Any]:
    return _score_content(_made_plan(), _made_results()) | {
        "cautions": ["The images are a made phantom. No number here means anything clinical."],
        "facts": [("plan", "made"), ("runs", "12 of 12 arms"), ("test images", "75")],
        "transfers": _transfers(),
        "gallery": made_gallery(),
        "learning": _learning(),
        "provenance": [
            ("commit", "cc07315f3a1d0c0ffee2aa1b2c3d4e5f60718293 (changed)"),
            ("versions", "cxrssl 0.4.0, torch 2.14.1, torchvision 0.29.1, numpy 2.4.6"),
            ("data", "sha256:" + _IMAGENET_HASH),
        ],
        "files": [
            ("report.csv", "every score of every arm, with its interval"),
            ("report.md", "the answer and table I in Markdown"),
        ],
        "curves": [_EMPTY, _EMPTY],
        **dict.fromkeys(("class_curves", "balance", "fusion"), _EMPTY),
        "convergence": [_EMPTY],
    }


def _learning() -> dict[str, Any]:
    heads = [{"title": title, "role": role, "labels": "10 %"} for title, role in STARTS]
    similarity = {
        "text": "How alike the maps are before and after.",
        "maps": ["layer1", "layer2", "layer3", "layer4"],
        "rows": [head | {"runs": 3, "values": [0.97, 0.9, 0.71, None]} for head in heads],
    }
    cells = [{"step": 1250.5, "reached": 2, "of": 3}, {"step": None, "reached": 0, "of": 1}]
    speed = {
        "text": "The first step at which a score was reached.",
        "goals": ["90 % of the control's last", "mAP 0.3"],
        "rows": [head | {"cells": cells} for head in heads],
    }
    teachers = {
        "text": "Boxes of the teacher that counted.",
        "columns": ["boxes an image", "precision", "recall"],
        "rows": [head | {"images": 2000, "values": [1.5, 0.53, None], "runs": 3} for head in heads],
    }
    return {"teachers": teachers, "similarity": similarity, "speed": speed}


def made_gallery() -> dict[str, Any]:
    """Return three films: two with findings, one of a normal chest with false findings."""
    images = [
        ("0a1b7c9e4d2f48b6a3c5e7f901234567", [(0, 3), (3, 2), (10, 1), (8, 1)], 1),
        ("5d2c8e1f7a9b40c3b6d4f8a2e1c0b9d7", [(11, 2), (13, 3)], 2),
        ("f3e2d1c0b9a84756a1b2c3d4e5f60718", [], 3),
    ]
    return {
        "classes": list(CLASSES),
        "arms": [
            {"key": f"{role}-10", "title": f"{title}, 10 % of the labels"} for title, role in STARTS
        ],
        "note": "3 of 75 test images, taken so that each class is there. Predictions of seed 0, "
        "scored 0.05 and more. The images are in this file: who gets the file gets them.",
        "images": [_gallery_image(name, truth, seed) for name, truth, seed in images],
    }


def _gallery_image(name: str, truth: list[tuple[int, int]], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def box() -> list[float]:
        x, y = rng.uniform(10, 100, 2)
        width, height = rng.uniform(18, 50, 2)
        return [round(float(v), 1) for v in (x, y, x + width, y + height)]

    def near(corners: list[float]) -> list[float]:
        return [round(float(v + rng.normal(0, 3)), 1) for v in corners]

    true = [{"box": box(), "label": label, "support": support} for label, support in truth]
    predictions = {}
    for role, gain in _GAINS.items():
        rows = [
            [
                *near(true_box["box"]),
                true_box["label"],
                round(0.55 + gain + 0.4 * float(rng.random()), 3),
            ]
            for true_box in true
        ]
        rows += [
            [*box(), int(rng.integers(len(CLASSES))), round(0.05 + 0.6 * float(rng.random()), 3)]
            for _ in range(7)
        ]
        predictions[f"{role}-10"] = sorted(rows, key=lambda row: -row[5])
    readers = [
        {
            "name": f"R{8 + number}",
            "boxes": [
                {"box": near(true_box["box"]), "label": true_box["label"]}
                for true_box in true
                if true_box["support"] > number
            ],
        }
        for number in range(3)
    ]
    return {
        "id": name,
        "src": _png(made_image(seed)),
        "width": _SIDE,
        "height": _SIDE,
        "truth": true,
        "readers": readers,
        "found": predictions,
    }


def made_image(seed: int) -> Pixels:
    """Return [160, 160] uint8 with two dark lungs beside a bright spine."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    lungs = sum(
        np.exp(-(((x - side) / 0.13) ** 4) - ((y - 0.48) / 0.32) ** 4) for side in (0.29, 0.71)
    )
    ribs = 0.06 * np.sin(2 * math.pi * (9 * y + 1.5 * np.abs(x - 0.5))) * lungs
    noise = 0.02 * np.random.default_rng(seed).standard_normal(x.shape)
    body = 0.72 * np.exp(-(((x - 0.5) / 0.52) ** 8)) + 0.12 * np.exp(-(((x - 0.5) / 0.06) ** 2))
    grey: Pixels = np.clip(255 * (body - 0.45 * lungs + ribs + noise), 0, 255).astype(np.uint8)
    return grey


def _png(pixels: Pixels) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _progress() -> dict[str, Any]:
    jobs = [("ssl-10-seed0", "step 120 of 400, loss 3.21", 0.3), ("store", "reading", None)]
    failed = {"name": "random-50-seed2", "reason": "the loss is not finite at step 17 (nan)"}
    return {
        "is_running": True,
        "updated": "2026-11-26T00:00:00+00:00",
        "done": 12,
        "total": 40,
        "running": [{"name": name, "note": note, "share": share} for name, note, share in jobs],
        "failed": [failed],
        "time_left": "about 25 min",
    }


def _transfers() -> list[dict[str, Any]]:
    counts = {"matched": 318, "missing": 0, "reshaped": 0, "unexpected": 0}
    rows = []
    for fraction in _FRACTIONS:
        name = f"{100 * fraction:.0f} %, seed 0"
        complete = {"arrived": True, "sha256": _IMAGENET_HASH, "note": ""}
        source = {"name": f"SimCLR from ImageNet, {name}", "source": "pretrain-90-seed0/backbone"}
        rows.append(counts | complete | source)
        nothing = dict.fromkeys(counts, 0) | {"arrived": True, "sha256": "", "source": ""}
        note = {"name": f"random, {name}", "note": "starts random: nothing to load"}
        rows.append(nothing | note)
    return rows


@cache
def _saved_figure() -> str:
    return saved_figure(saved_by_fraction(_made_plan(), _made_results()))


@cache
def _target_figures() -> list[dict[str, str]]:
    return list(target_figures(_made_plan(), targets_of(_made_plan(), _made_results())))


@cache
def _figures() -> dict[str, Any]:
    losses = [(step, 3.0 * math.exp(-step / 150) + 0.8) for step in range(0, 400, 10)]
    before = [61.0 - 4 * n for n in range(len(CLASSES))]
    box = np.array([[20, 30, 60, 70], [22, 33, 62, 74], [90, 60, 130, 120]], np.float32)
    example = Readings(
        *(made_image(1), 1.1, box, ["R8", "R9", "R9"], box[1:]),
        *(["Nodule/Mass", "Pleural effusion"], [2, 1]),
    )
    drawn = {
        "balance": class_balance(CLASSES, before=before, after=[max(40.0, n) for n in before]),
        "fusion": fusion_examples([example]),
        "loss": convergence({"pool": losses}, roles={"pool": "ssl"}, ylabel="SSL", chance=4.1),
    }
    figures = {name: {"svg": svg, "caption": f"The {name}."} for name, svg in drawn.items()}
    return {
        "curves": list(curve_figures(_made_plan(), _made_results())),
        "class_curves": class_figure(_made_plan(), _made_results()),
        "convergence": [figures.pop("loss")],
        **figures,
    }
