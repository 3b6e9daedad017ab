"""Made content of a report with something in every section, and with nothing in any.

Three initialisations at four label shares, real figures of made numbers, three made films.
"""

import base64
import io
import math
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from cxrssl.core.images import Pixels
from cxrssl.report.figures import (
    Line,
    Readings,
    Role,
    class_balance,
    class_curves,
    convergence,
    fusion_examples,
    label_curve,
    labels_saved,
)

SHARES = (0.1, 0.2, 0.5, 1.0)
STARTS: tuple[tuple[str, Role, float], ...] = (
    ("SimCLR from ImageNet", "ssl", 0.02),
    ("ImageNet", "control", 0.0),
    ("random", "other", -0.06),
)
"""Title, role, and what is added to every score."""
CLASSES = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD"),
    *("Infiltration", "Lung opacity", "Nodule/Mass", "Other lesion", "Pleural effusion"),
    *("Pleural thickening", "Pneumothorax", "Pulmonary fibrosis"),
)
COLUMNS = ("mAP", "mAP50", "mAP small", "AR", "AR small")
_SIDE = 160
_EMPTY = '<svg viewBox="0 0 400 300"></svg>'
_IMAGENET_HASH = "9c1f2f0b6d3c2ab5c7de80a91cbf0dd3a4b1ed7756d33f2c1e9a0b8f7d6c5e4f"


def made_content(*, running: bool = False, drawn: bool = False) -> dict[str, Any]:
    """Return content with something in every section.

    Args:
        running: Of a plan that has not ended.
        drawn: With figures as a report has them, which takes seconds, and not with empty ones.
    """
    return {
        "plan": "made",
        "question": "How few boxes do you need?",
        "answer": "With 10 % of the labels, SimCLR from ImageNet reaches mAP50 0.141 (0.118 to "
        "0.164); ImageNet needs 14 % of them for that (95 % interval: 10 % to 21 %): whether "
        "pretraining saves labels, this experiment can't tell.",
        "remarks": [
            f"SimCLR from ImageNet against {other}, label for label: mAP50 {gap} on average over 4 "
            f"label shares (95 % interval {ends})."
            for other, gap, ends in (
                ("ImageNet", "+0.020", "-0.004 to +0.044, p = 0.092), which may be chance"),
                ("random", "+0.080", "+0.051 to +0.109, p < 0.001), which is more than chance"),
            )
        ],
        "cautions": [
            "The images are a made phantom. It shows that the machinery works; no number here "
            "means anything clinical."
        ],
        "facts": [
            *(("plan", "made"), ("runs", "12 of 12 arms"), ("test images", "75")),
            *(("true boxes in them", "311"), ("classes", "14"), ("seeds", "3")),
        ],
        "progress": _progress() if running else None,
        "table1": _table_1(),
        "table2": _table_2(),
        "class_table": _class_table(),
        "faults": _faults(),
        "transfers": _transfers(),
        "gallery": made_gallery(),
        "definitions": [
            ("AP", "AP averaged over IoU 0.50 to 0.95 and over classes, as COCO has it."),
            ("AP50", "AP at IoU 0.50, averaged over classes."),
            ("AR100_agnostic", "Recall of at most 100 boxes an image, classes pooled."),
        ],
        "provenance": [
            ("plan", "made"),
            ("commit", "cc07315f3a1d0c0ffee2aa1b2c3d4e5f60718293 (changed)"),
            (
                "versions",
                "cxrssl 0.4.0, torch 2.14.1, torchvision 0.29.1, timm 1.0.31, numpy 2.4.6",
            ),
            ("data", "sha256:" + _IMAGENET_HASH),
        ],
        "files": [
            ("report.csv", "every score of every arm, with its interval"),
            ("report.md", "the answer and table I in Markdown"),
        ],
        **(_figures() if drawn else _empty_figures(_EMPTY)),
    }


def bare_content() -> dict[str, Any]:
    """Return what a plan has before its first arm has finished: every section is empty."""
    filled = made_content()
    return filled | {
        "answer": "The runs have not all ended.",
        **dict.fromkeys(("remarks", "cautions", "facts", "curves", "convergence"), ()),
        **dict.fromkeys(("transfers", "definitions", "provenance", "files"), ()),
        **dict.fromkeys(("saved", "class_curves", "balance", "fusion", "faults", "gallery"), None),
        "progress": {
            "is_running": False,
            "updated": "2026-11-26T00:00:00+00:00",
            "done": 0,
            "total": 0,
            "running": [],
            "failed": [],
            "time_left": None,
        },
        "table1": filled["table1"] | {"rows": [], "against": "", "has_paper": False},
        "table2": filled["table2"] | {"rows": []},
        "class_table": {"arms": [], "rows": []},
    }


def made_gallery() -> dict[str, Any]:
    """Return three films: two with findings, one of a normal chest with false findings."""
    films = [
        ("0a1b7c9e4d2f48b6a3c5e7f901234567", [(0, 3), (3, 2), (10, 1), (8, 1)], 1),
        ("5d2c8e1f7a9b40c3b6d4f8a2e1c0b9d7", [(11, 2), (13, 3)], 2),
        ("f3e2d1c0b9a84756a1b2c3d4e5f60718", [], 3),
    ]
    return {
        "classes": list(CLASSES),
        "arms": [
            {"key": f"{role}-10", "title": f"{title}, 10 % of the labels"}
            for title, role, _ in STARTS
        ],
        "note": "3 of 75 test images, taken so that each class is there. Predictions of seed 0, "
        "scored 0.05 and more. The pictures are in this file: whoever gets it gets them.",
        "images": [_film(name, truth, seed) for name, truth, seed in films],
    }


def _film(name: str, truth: list[tuple[int, int]], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def box() -> list[float]:
        x, y = rng.uniform(10, 100, 2)
        width, height = rng.uniform(18, 50, 2)
        return [round(float(v), 1) for v in (x, y, x + width, y + height)]

    def near(corners: list[float]) -> list[float]:
        return [round(float(v + rng.normal(0, 3)), 1) for v in corners]

    true = [{"box": box(), "label": label, "support": support} for label, support in truth]
    found = {}
    for _, role, gain in STARTS:
        rows = [
            [*near(one["box"]), one["label"], round(0.55 + gain + 0.4 * float(rng.random()), 3)]
            for one in true
        ]
        rows += [
            [*box(), int(rng.integers(len(CLASSES))), round(0.05 + 0.6 * float(rng.random()), 3)]
            for _ in range(7)
        ]
        found[f"{role}-10"] = sorted(rows, key=lambda row: -row[5])
    readers = [
        {
            "name": f"R{8 + number}",
            "boxes": [
                {"box": near(one["box"]), "label": one["label"]}
                for one in true
                if one["support"] > number
            ],
        }
        for number in range(3)
    ]
    return {
        "id": name,
        "src": _png(made_film(seed)),
        "width": _SIDE,
        "height": _SIDE,
        "truth": true,
        "readers": readers,
        "found": found,
    }


def made_film(seed: int) -> Pixels:
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


def _score(share: float, gain: float, column: int = 1) -> float:
    """Return a made score that rises with the logarithm of the share."""
    whole = (0.13, 0.28, 0.02, 0.41, 0.15)[column]
    return max(0.004, whole * (1 + 0.22 * math.log2(share)) + gain * whole / 0.28)


def _cell(value: float | None, *, paper: float | None, gap: float | None) -> dict[str, Any]:
    cell: dict[str, Any] = dict.fromkeys(("value", "low", "high", "delta"))
    cell |= {"delta_low": None, "delta_high": None, "p": None, "paper": paper}
    if value is not None:
        cell |= {"value": value, "low": max(0.0, value - 0.023), "high": value + 0.023}
        if gap is not None:
            cell |= {"delta": gap, "delta_low": gap - 0.012, "delta_high": gap + 0.012}
            cell["p"] = 0.0004 if abs(gap) > 0.02 else 0.31
    return cell


def _table_1() -> dict[str, Any]:
    rows = []
    for share in reversed(SHARES):
        for title, role, gain in STARTS:
            cells = []
            for column in range(len(COLUMNS)):
                # What can't be computed: no small boxes with the fewest labels.
                is_missing = share == 0.1 and column == 2
                value = None if is_missing else _score(share, gain, column)
                gap = gain * (0.3 if share < 0.5 else 1.2) if gain else None
                paper = _score(share, 0.005, column) if role == "ssl" or share == 1 else None
                cells.append(_cell(value, paper=paper, gap=gap))
            images = round(293 * share)
            row = {"role": role, "title": title, "labels": f"{100 * share:.0f} %"}
            rows.append(row | {"images": images, "seeds": 3, "cells": cells})
    columns = [{"label": label, "note": f"What {label} is, in a sentence."} for label in COLUMNS]
    return {"columns": columns, "rows": rows, "against": "ImageNet", "has_paper": True}


def _table_2() -> dict[str, Any]:
    def cells(mean: float, paper: float | None) -> list[dict[str, float | None]]:
        first = {"mean": mean, "std": 0.309, "paper": paper}
        return [first, {"mean": mean + 0.1, "std": 0.15, "paper": None}]

    rows = [{"role": "baseline", "title": "R8 and R9 (41 images)", "cells": cells(0.58, 0.58)}]
    for share in reversed(SHARES):
        for title, role, gain in STARTS:
            own = cells(0.56 + 0.03 * math.log2(share) + gain, 0.565 if share == 1 else None)
            rows.append({"role": role, "title": f"{title}, {100 * share:.0f} %", "cells": own})
    labels = ["all true boxes, or pairs", "those that overlap by more than 0.2"]
    return {"labels": labels, "rows": rows}


def _class_table() -> dict[str, Any]:
    points = [(title, role, gain, s) for s in reversed(SHARES) for title, role, gain in STARTS]
    rows = []
    for place, name in enumerate(CLASSES):
        cells = [
            _cell(None if place == 5 else _score(s, gain) + 0.01 * place, paper=None, gap=None)
            for _, _, gain, s in points
        ]
        rows.append({"name": name, "boxes": 61 - 4 * place, "cells": cells})
    arms = [{"title": f"{title}, {100 * s:.0f} %", "role": role} for title, role, _, s in points]
    return {"arms": arms, "rows": rows}


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


def _faults() -> dict[str, Any]:
    ladder = [
        ("corrected, 10 % of the labels", "Split and pool are drawn by a hash of the image."),
        ("+ P4: the split is the order of the table", "Images with many boxes have many rows."),
        ("+ P5: the pool is the first part of that order", "The most crowded lose their labels."),
        ("+ P1: the weights never arrive", "What is called SSL is the detector without it."),
    ]
    cells = [
        *("8.3 and 8.1", "0.280 (0.257 to 0.303)", "0.141 (0.118 to 0.164)"),
        *("-0.139 (-0.162 to -0.116) *", "", "+0.006 (-0.010 to +0.022)"),
    ]
    return {
        "intro": "Each row puts one more fault of the published code back into this plan.",
        "columns": [
            *("boxes an image, train and test", "all labels", "SSL"),
            "SSL - all labels: the gain as it is reported",
            "what this fault does to the gain",
            "SSL - the same labels without: what pretraining did",
        ],
        "rows": [{"title": title, "text": text, "cells": cells} for title, text in ladder],
        "others": [
            {"code": "P2", "text": "The contrast is between the channels of one image."},
            {"code": "P12", "text": "No control with the same labels, one seed, and no interval."},
        ],
    }


def _transfers() -> list[dict[str, Any]]:
    counts = {"matched": 318, "missing": 0, "reshaped": 0, "unexpected": 0}
    rows = []
    for share in SHARES:
        name = f"{100 * share:.0f} %, seed 0"
        whole = {"arrived": True, "sha256": _IMAGENET_HASH, "note": ""}
        source = {"name": f"SimCLR from ImageNet, {name}", "source": "pretrain-90-seed0/backbone"}
        rows.append(counts | whole | source)
        nothing = dict.fromkeys(counts, 0) | {"arrived": True, "sha256": "", "source": ""}
        note = {"name": f"random, {name}", "note": "starts random: nothing to load"}
        rows.append(nothing | note)
    return rows


def _empty_figures(svg: str) -> dict[str, Any]:
    one = {"svg": svg, "caption": "A figure of nothing."}
    rows = [
        {"title": STARTS[0][0], "labels": labels, "needed": needed, "interval": interval}
        for labels, needed, interval in (
            ("10 %", "14 %", "10 % to 21 %"),
            ("20 %", "26 %", "18 % to 40 %"),
            ("50 %", "62 %", "40 % to more than the data can tell"),
        )
    ]
    text = "For each share of the labels: with how many the control reaches the same."
    return {
        "saved": {"text": text, "rows": rows, "figure": svg},
        "curves": [one, one],
        **dict.fromkeys(("class_curves", "balance", "fusion"), one),
        "convergence": [one],
    }


@cache
def _figures() -> dict[str, Any]:
    runs = {
        f"{title} {seed}": [
            (step, 3.0 * math.exp(-step / 150) + 0.8 - gain) for step in range(0, 400, 10)
        ]
        for title, _, gain in STARTS
        for seed in range(3)
    }
    roles = {f"{title} {seed}": role for title, role, _ in STARTS for seed in range(3)}
    panels = {f"{name} ({61 - 4 * n})": _lines(1, 0.01 * n) for n, name in enumerate(CLASSES)}
    saved = [(0.1, 0.14, 0.1, 0.21), (0.2, 0.26, 0.18, 0.4), (0.5, 0.62, 0.4, math.inf)]
    before = [61.0 - 4 * n for n in range(len(CLASSES))]
    box = np.array([[20, 30, 60, 70], [22, 33, 62, 74], [90, 60, 130, 120]], np.float32)
    one = Readings(
        *(made_film(1), 1.1, box, ["R8", "R9", "R9"], box[1:]),
        *(["Nodule/Mass", "Pleural effusion"], [2, 1]),
    )
    reference = [(share, _score(share, 0.005)) for share in SHARES]
    return {
        **_empty_figures(labels_saved(saved, least=0.1, most=1.0)),
        "curves": [
            {
                "svg": label_curve(_lines(column), metric=COLUMNS[column], reference=reference[:n]),
                "caption": f"{COLUMNS[column]} on the test images; dots are single seeds.",
            }
            for column, n in ((1, 4), (0, 0), (3, 0), (2, 0))
        ],
        "class_curves": {"svg": class_curves(panels, metric="mAP"), "caption": "mAP by class."},
        "balance": {
            "svg": class_balance(CLASSES, before=before, after=[max(40.0, n) for n in before]),
            "caption": "Training images that hold each class, and visits in an epoch.",
        },
        "fusion": {"svg": fusion_examples([one]), "caption": "As readers drew them, and fused."},
        "convergence": [
            {"svg": convergence(runs, roles=roles, ylabel="loss"), "caption": "Of fine-tuning."},
            {
                "svg": convergence(
                    {"pool": runs["random 0"]}, roles={"pool": "ssl"}, ylabel="SSL", chance=4.1
                ),
                "caption": "Of pretraining; dotted is chance.",
            },
        ],
    }


def _lines(column: int, shift: float = 0.0) -> list[Line]:
    lines = []
    for title, role, gain in STARTS:
        means = [_score(share, gain, column) + shift for share in SHARES]
        lines.append(
            Line(
                title=title,
                role=role,
                shares=SHARES,
                means=means,
                lows=[max(0.0, mean - 0.02) for mean in means],
                highs=[mean + 0.02 for mean in means],
                runs=[(mean - 0.01, mean, mean + 0.01) for mean in means],
            )
        )
    return lines
