"""`cxrssl report`: the runs of a plan as one HTML page, with the answer first.

It can be written while the plan runs, of what has finished.
"""

import math
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cxrssl.config.arms import Arm, arms_of, in_folds, pretrainings_of
from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.duration import duration
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_bytes, write_json, write_text
from cxrssl.core.records import read_record, reading
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.store import Store
from cxrssl.jobs.job import NOT_RUN
from cxrssl.report.answer import (
    Saved,
    answer,
    remarks,
    saved_by_fraction,
    saved_rows,
)
from cxrssl.report.audit import definition_rows, provenance_rows, transfer_rows
from cxrssl.report.cautions import cautions, cautions_of_own_data
from cxrssl.report.fairness import check_pairs, recorded_recipes, unread
from cxrssl.report.faults import fault_section
from cxrssl.report.figure_data import (
    balance_figure,
    class_figure,
    convergence_figures,
    curve_figures,
    curve_png,
    fusion_figure,
    saved_figure,
)
from cxrssl.report.files import as_csv, as_latex, as_markdown
from cxrssl.report.gallery import gallery_section
from cxrssl.report.html import render_report
from cxrssl.report.images_used import images_used
from cxrssl.report.learning import learning_section
from cxrssl.report.prior import prior_section
from cxrssl.report.results import Results, read_results
from cxrssl.report.tables import class_table, table_1, table_2
from cxrssl.report.target_figure import target_figures
from cxrssl.report.targets import (
    INTRODUCTION,
    ONE_SEED,
    Target,
    reading_text,
    target_json,
    target_remarks,
    target_rows,
    targets_of,
)
from cxrssl.report.treatments import (
    comparisons_note,
    known_of,
    other_answers,
    treatment_section,
)

# A plan at work writes how far it is twice a minute at least.
_SILENT_S = 300
_FILES = [
    ("report.csv", "every score of every arm, with its interval"),
    ("report.md", "the answer, the treatments and table I in Markdown"),
    ("report.tex", "table I in LaTeX"),
    ("report.png", "the curve over the share of labels, for a page or a card"),
    ("report.json", "the answer, labels saved and tables, for programs"),
]


def report(runs: Path) -> Path:
    """Write `report.html` and its tables into the folder of a plan and return the page.

    Raises:
        RunError: If the folder holds no plan, or its arms can't be compared.
    """
    if not (runs / "plan.yaml").is_file():
        raise RunError(f"{runs} holds no plan.yaml. Name the folder of a `cxrssl reproduce`.")
    plan = load_recipe(runs / "plan.yaml", Plan, overrides=[])
    arms = arms_of(plan)
    results = read_results(runs, plan)
    recipes = recorded_recipes(runs, plan, results)
    check_pairs(runs, plan, recipes)
    saved, targets = saved_by_fraction(plan, results), targets_of(plan, results)
    store, pool = (_store(runs / name) for name in ("store", "pool"))
    data = None if store is None else _data(results, store, in_folds=plan.data.folds is not None)
    content = _texts(plan, arms, results, saved) | _figures(plan, results, data)
    known = known_of(runs, plan, None if pool is None else len(pool), recipes)
    content["treatments"] = treatment_section(plan, results, recipes, known)
    content["targets"] = _target_section(plan, targets)
    content["remarks"] += [*comparisons_note(plan), *target_remarks(plan, targets)]
    test = [] if data is None else data.test
    num_test = results.plain[0].result["n_images"] if results.plain else 0
    of_data = cautions_of_own_data(plan, store, num_test) + unread(plan, results, recipes)
    content["cautions"] = cautions(plan, store, pool, test) + of_data
    content["cautions_for_others"] = cautions(plan, store, pool, test, names_images=False) + of_data
    content["counted"] = _counted_runs(plan, results)
    content["progress"] = _progress(runs, is_complete=len(results.arms) == len(arms))
    write_text(runs / "report.csv", as_csv(results))
    texts = (content[name] for name in ("answer", "remarks", "table1", "treatments"))
    write_text(runs / "report.md", as_markdown(*texts))
    write_text(runs / "report.tex", as_latex(content["table1"]))
    write_bytes(runs / "report.png", curve_png(plan, results))
    write_text(runs / "report.html", render_report(content))
    write_json(
        runs / "report.json", _json(content, results, saved, targets)
    )  # last: it says what is in all
    return runs / "report.html"


def _store(folder: Path) -> Store | None:
    return Store(folder) if (folder / "manifest.json").is_file() else None


def _texts(plan: Plan, arms: list[Arm], results: Results, saved: list[Saved]) -> dict[str, Any]:
    rows = saved_rows(plan, saved)
    return {
        "plan": plan.name,
        "question": "How few boxes do you need?",
        "answer": answer(plan, results, saved),
        "remarks": [*other_answers(plan, results), *remarks(plan, results)],
        "facts": _facts(plan, arms, results),
        "table1": table_1(plan, results),
        "table2": table_2(plan, results),
        "prior": prior_section(plan, results),
        "saved": {"text": _saved_text(plan), "rows": rows, "figure": saved_figure(saved)}
        if saved
        else None,
        "class_table": class_table(plan, results, "AP"),
        "faults": fault_section(plan, results),
        "learning": learning_section(plan, results),
        "images_used": images_used(results),
        "transfers": list(transfer_rows(plan, results)),
        "definitions": definition_rows(results),
        "provenance": provenance_rows(plan, results),
        "files": _FILES,
    }


_SAVED = (
    "For each share of the labels: the share with which the control reaches the same score, read "
    "off its curve (made never to fall, and straight in the logarithm of the share between its "
    "points). The interval holds every share at which the two can't be told apart, by test images "
    "and, from two seeds on, by seeds; with one seed it is too narrow. An end beyond the control's "
    "curve is more than the data can tell."
)


def _saved_text(plan: Plan) -> str:
    """Return what the section of labels saved shows, and of which treatment."""
    assert plan.main is not None  # as a plan has in which something is saved
    main = plan.treatments[plan.main]
    return f"{main.title} against {plan.treatments[main.controls[0]].title}. {_SAVED}"


def _target_section(plan: Plan, targets: list[Target]) -> dict[str, Any] | None:
    """Return what the targets need, None where the plan names none or no curve is complete."""
    if not targets:
        return None
    note = ONE_SEED if any(target.seeds == 1 for target in targets) else ""
    return {
        "text": INTRODUCTION + note,
        "reading": reading_text(plan),
        "rows": target_rows(plan, targets),
        "figures": list(target_figures(plan, targets)),
    }


class _Data(NamedTuple):
    """Images as the plan's recipe has them."""

    recipe: FinetuneRecipe
    store: Store
    train: list[Example]
    test: list[Example]


def _data(results: Results, store: Store, *, in_folds: bool) -> _Data | None:
    """Return the plan's images, None before an arm has finished.

    In folds each image is trained on by some runs and tested on by the others.
    """
    if not results.plain:
        return None
    recipe = load_recipe(results.plain[0].folder / "recipe.yaml", FinetuneRecipe, overrides=[])
    data = recipe.data
    examples = examples_of(store, fusion=data.fusion, iou=data.consensus_iou)
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    if in_folds:
        used = [example for example in examples if example.image_id in splits]
        return _Data(recipe, store, used, used)
    train, test = (in_split(examples, splits, split) for split in ("train", "test"))
    return _Data(recipe, store, train, test)


def _figures(plan: Plan, results: Results, data: _Data | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "curves": list(curve_figures(plan, results)),
        "class_curves": class_figure(plan, results),
        "convergence": list(convergence_figures(plan, results)),
        "balance": None,
        "fusion": None,
        "gallery": None,
    }
    if data is not None:
        figures["balance"] = balance_figure(data.recipe, data.store, data.train)
        figures["fusion"] = fusion_figure(data.store, data.test)
        figures["gallery"] = gallery_section(plan, results, data.store, data.test)
    return figures


def _facts(plan: Plan, arms: list[Arm], results: Results) -> list[tuple[str, str]]:
    facts = [("plan", plan.name), ("runs", f"{len(results.arms)} of {len(arms)} arms")]
    if results.plain:
        result = results.plain[0].result
        facts += [
            ("test images", str(result["n_images"])),
            ("true boxes in them", str(result["n_boxes"])),
            ("classes", str(result["n_classes"])),
        ]
    fresh = ", another one in each fold" if plan.data.fresh_seeds else ""
    return [*facts, ("seeds", f"{len(plan.seeds)}{fresh}")]


def _progress(runs: Path, *, is_complete: bool) -> dict[str, Any] | None:
    """Return how far the plan is, None where all arms have finished."""
    path = runs / "status.json"
    if is_complete or not path.is_file():
        return None
    status = read_record(path)
    with reading(path):
        return _progress_of(status, runs)


def _progress_of(status: dict[str, Any], runs: Path) -> dict[str, Any]:
    """Return what a report says of a plan that has not ended, from its `status.json`."""
    seconds_left = status["seconds_left"]
    age = datetime.now(UTC) - datetime.fromisoformat(status["updated"])
    # A killed process could not write that it stopped.
    is_running = status["state"] == "running" and age.total_seconds() < _SILENT_S
    return {
        "is_running": is_running,
        "done": status["done"],
        "total": status["total"],
        "running": [
            {"name": job["name"], "note": job["note"], "share": _fraction_done(job)}
            for job in status["jobs"]
            if is_running and job["state"] == "running"
        ],
        "updated": status["updated"],
        # The page may be given away: it tells nothing of this machine's folders.
        "failed": [
            {"name": job["name"], "reason": job["fault"].replace(f"{runs.absolute()}/", "")}
            for job in status["jobs"]
            if "fault" in job and not job["fault"].startswith(NOT_RUN)
        ],
        "time_left": None if seconds_left is None else f"about {duration(seconds_left)}",
    }


def _fraction_done(job: dict[str, Any]) -> float | None:
    return job["step"] / max(1, job["num_steps"]) if job["step"] is not None else None


def _json(
    content: dict[str, Any], results: Results, saved: list[Saved], targets: list[Target]
) -> dict[str, Any]:
    return {
        "plan": content["plan"],
        "answer": content["answer"],
        "remarks": content["remarks"],
        "cautions": content["cautions_for_others"],
        "counted": content["counted"],
        "arms": [finished.arm.name for finished in results.arms],
        "treatments": content["treatments"],
        "labels_saved": [_saved_json(saving) for saving in saved],
        "targets": [_as_json_value(target_json(target)) for target in targets],
        "table1": content["table1"],
        "table2": content["table2"],
        "prior": content["prior"],
        "learning": content["learning"],
        "faults": content["faults"],
    }


def _saved_json(saving: Saved) -> dict[str, Any]:
    content = asdict(saving)
    content["control"] = [
        {"fraction": fraction} | asdict(amount) for fraction, amount in saving.control.items()
    ]
    return {name: _as_json_value(value) for name, value in content.items()}


def _counted_runs(plan: Plan, results: Results) -> list[str]:
    """Return the runs that the answer rests on."""
    arms = [run for finished in results.plain for run in in_folds(plan, finished.arm)]
    return [*(arm.name for arm in arms), *sorted(run.name for run in pretrainings_of(arms))]


def _as_json_value(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return values for JSON, which has no infinity, for which "beyond" stands, and no nan."""
    if isinstance(value, dict):
        return {key: _as_json_value(entry) for key, entry in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return "beyond" if value == math.inf else value
