"""The report's figures: label curves, classes, balance, fusion, labels saved, convergence."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cxrssl.config.arms import in_folds, pretrainings_of
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.records import read_record
from cxrssl.data.detection import Example
from cxrssl.data.sampling import repeat_factors
from cxrssl.data.store import Store
from cxrssl.drawing.balance import class_balance
from cxrssl.drawing.looks import Role
from cxrssl.drawing.readings import Readings, fusion_examples
from cxrssl.metrics.label_curves import Estimate
from cxrssl.paper import numbers as paper
from cxrssl.report.amounts import amount_of, counted
from cxrssl.report.answer import Saved
from cxrssl.report.figures.classes import class_curves
from cxrssl.report.figures.curves import Line, label_curve, label_curve_png
from cxrssl.report.figures.runs import convergence
from cxrssl.report.figures.saved import labels_saved
from cxrssl.report.results import Condition, FinishedArm, Results, class_estimate
from cxrssl.report.tables import role
from cxrssl.report.wording import METRICS
from cxrssl.run.log import read_log

Figure = dict[str, str]
_CURVES = ("AP", "AP50", "AR100_agnostic", "AP_small")
# With more boxes an image of readers' boxes can't be read.
_NUM_FUSIONS, _CROWDED = 3, 8


def curve_figures(plan: Plan, results: Results) -> Iterator[Figure]:
    """Yield label-efficiency curves, the answer's metric first."""
    for metric in dict.fromkeys((plan.answer.metric, *_CURVES)):
        lines, paper_points = _curve(plan, results, metric)
        svg = label_curve(
            lines, metric=METRICS[metric], reference=paper_points, amounts=_amount_ticks(results)
        )
        yield {
            "svg": svg,
            "caption": f"{METRICS[metric]} on the test images; bands are 95 % intervals"
            f"{', dots single seeds' if len(plan.seeds) > 1 else ''}.",
        }


def curve_png(plan: Plan, results: Results) -> bytes:
    """Return the label-efficiency curve of the answer's metric as a PNG."""
    lines, paper_points = _curve(plan, results, plan.answer.metric)
    return label_curve_png(
        lines,
        metric=METRICS[plan.answer.metric],
        reference=paper_points,
        amounts=_amount_ticks(results),
    )


def _amount_ticks(results: Results) -> dict[float, str]:
    """Return films and boxes of each share, of all treatments that have it."""
    fractions = {finished.arm.label_fraction for finished in results.plain}
    ticks = {}
    for fraction in fractions:
        arms = [arm for arm in results.plain if arm.arm.label_fraction == fraction]
        amount = amount_of(arms)
        if amount is not None:
            ticks[fraction] = f"{counted(amount.films, 'film')}\n{counted(amount.boxes, 'box')}"
    return ticks


def _curve(
    plan: Plan, results: Results, metric: str
) -> tuple[list[Line], list[tuple[float, float]]]:
    """Return a line a treatment, and the paper's points where they are comparable."""
    lines = [
        _line(
            plan,
            name,
            [
                (fraction, mean, _values(results.at(Condition(name, fraction)), metric))
                for fraction in sorted(plan.label_fractions)
                if (mean := results.mean(Condition(name, fraction), metric))
            ],
        )
        for name in plan.treatments
    ]
    if not plan.paper or metric not in paper.COLUMNS:
        return lines, []
    column = paper.COLUMNS.index(metric)
    return lines, [(float(key) / 100, row[column]) for key, row in paper.TABLE_1.items()]


def _line(plan: Plan, name: str, points: Sequence[tuple[float, Estimate, Sequence[float]]]) -> Line:
    """Return the curve of a treatment through (label fraction, mean, value of each seed)."""
    return Line(
        title=plan.treatments[name].title,
        role=role(plan, name),
        fractions=[fraction for fraction, _, _ in points],
        means=[mean.value for _, mean, _ in points],
        lows=[mean.low for _, mean, _ in points],
        highs=[mean.high for _, mean, _ in points],
        runs=[values for _, _, values in points],
    )


def _values(arms: Sequence[FinishedArm], metric: str) -> list[float]:
    return [arm.result["metrics"][metric]["value"] for arm in arms]


def class_figure(plan: Plan, results: Results) -> Figure | None:
    """Return the paper's figure 4, AP of each class by label fraction; None before an arm ended."""
    if not results.plain:
        return None
    counts = results.plain[0].result["classes"]
    names = sorted(counts, key=lambda name: -counts[name]["n_boxes"])
    panels = {
        f"{name} ({counts[name]['n_boxes']})": _class_lines(plan, results, name) for name in names
    }
    return {
        "svg": class_curves(panels, metric=METRICS["AP"]),
        "caption": "mAP by class, with the number of true test boxes; the paper's figure 4.",
    }


def _class_lines(plan: Plan, results: Results, name: str) -> list[Line]:
    return [
        _line(
            plan,
            treatment,
            [
                (fraction, Estimate(mean.value, None, None, None), [])
                for fraction in sorted(plan.label_fractions)
                if (mean := class_estimate(results.at(Condition(treatment, fraction)), name, "AP"))
            ],
        )
        for treatment in plan.treatments
    ]


def saved_figure(saved: Sequence[Saved]) -> str:
    """Return the label fraction that the control needs over that of the treatment, as SVG."""
    rows = [
        (saving.fraction, saving.curve.share, saving.curve.low, saving.curve.high)
        for saving in saved
    ]
    return labels_saved(rows, least=saved[0].curve.least, most=saved[0].curve.most)


def balance_figure(recipe: FinetuneRecipe, store: Store, train: Sequence[Example]) -> Figure | None:
    """Return the paper's figure 3, None where nothing is oversampled."""
    threshold = recipe.data.oversample_threshold
    if threshold is None:
        return None
    factors = repeat_factors([example.labels for example in train], threshold=threshold)
    if recipe.data.oversample_rounding == "ceil":
        factors = np.ceil(factors)
    holds = np.zeros((len(train), len(store.classes)))
    for row, example in enumerate(train):
        holds[row, example.labels] = 1
    svg = class_balance(
        store.classes, before=holds.sum(axis=0).tolist(), after=(factors @ holds).tolist()
    )
    return {
        "svg": svg,
        "caption": "Training images that hold each class, and visits to such images in an epoch; "
        "the paper's figure 3.",
    }


def fusion_figure(store: Store, test: Sequence[Example]) -> Figure | None:
    """Return the paper's figure 1, None where no two readers' boxes were merged."""

    def merged(example: Example) -> int:
        return int((example.support > 1).sum())

    candidates = [example for example in test if merged(example) and len(example.boxes) <= _CROWDED]
    chosen = sorted(candidates, key=lambda example: (-merged(example), example.image_id))[
        :_NUM_FUSIONS
    ]
    if not chosen:
        return None
    return {
        "svg": fusion_examples([_readings(store, example) for example in chosen]),
        "caption": "Boxes as readers drew them, and their consensus; the paper's figure 1.",
    }


def _readings(store: Store, example: Example) -> Readings:
    image, pixels = store.images[example.row], store.pixels(example.row)
    is_squashed = store.manifest["fit"] == "squash"
    return Readings(
        pixels=pixels,
        height_per_width=image.original_height / image.original_width if is_squashed else 1.0,
        drawn=example.reader_boxes,
        readers=list(example.readers),
        fused=example.boxes,
        names=[store.classes[label] for label in example.labels],
        support=example.support.tolist(),
    )


def convergence_figures(plan: Plan, results: Results) -> Iterator[Figure]:
    """Yield the losses of fine-tuning and of pretraining over their steps."""
    plain = results.plain
    if not plain:
        return
    arm_of = {folder: arm.arm for arm in plain for folder in arm.folders}
    losses = {folder.name: _losses(folder) for folder in arm_of}
    roles: dict[str, Role] = {f.name: role(plan, arm.treatment) for f, arm in arm_of.items()}
    names: dict[Role, str] = {"other": "all"}
    if plan.main is not None:
        main = plan.treatments[plan.main]
        control = plan.treatments[main.controls[0]].title
        names = {"ssl": main.title, "control": control, "other": "others"}
    svg = convergence(losses, roles=roles, ylabel="loss of fine-tuning", names=names)
    yield {"svg": svg, "caption": "Sum of the detector's losses, on single batches."}
    runs = plain[0].folder.parent
    arms = [arm for finished in plain for arm in in_folds(plan, finished.arm)]
    folders = {runs / run.name for run in pretrainings_of(arms)}
    finished = sorted(folder for folder in folders if (folder / "metrics.json").is_file())
    if not finished:
        return
    chance_losses = {read_record(folder / "metrics.json").get("chance_loss") for folder in finished}
    chance = chance_losses.pop() if len(chance_losses) == 1 else None
    svg = convergence(
        {folder.name: _losses(folder) for folder in finished},
        roles={folder.name: "ssl" for folder in finished},
        ylabel="loss of pretraining",
        names={"ssl": "pretraining"},
        chance=chance,
    )
    chance_note = "" if chance is None else "; dotted is chance"
    yield {"svg": svg, "caption": f"Loss of pretraining, on single batches{chance_note}."}


def _losses(folder: Path) -> list[tuple[int, float]]:
    """Return (step, sum of the losses) of a run's log."""
    return [
        (line["step"], sum(value for key, value in line.items() if key.startswith("loss")))
        for line in read_log(folder)
        if "lr" in line
    ]
