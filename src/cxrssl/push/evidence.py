"""Evidence of a finished run for its card, without the paths of the machine it ran on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrssl.config.load import Recipe, load_run_recipe, map_paths, path_end, to_yaml
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.files import json_text
from cxrssl.core.records import read_record
from cxrssl.run.folder import is_finished

_FIGURE = "report.png"
# As VinDr-CXR calls them; another name may be a person's.
_READER = re.compile(r"R\d+")


@dataclass(frozen=True)
class Answer:
    """Answer of a plan's report: how many labels pretraining saved.

    Attributes:
        plan: Name of the plan.
        text: The answer, with its interval.
        remarks: Remarks on the answer.
        cautions: Warnings to read before the answer is believed.
        figure: Score over the fraction of labels, as PNG; None if the report has no figure.
    """

    plan: str
    text: str
    remarks: tuple[str, ...]
    cautions: tuple[str, ...]
    figure: bytes | None


# Runs whose metrics.json names no method date from when there was only this one.
_FIRST_METHOD = {"name": "simclr", "title": "SimCLR", "paper": "arXiv 2002.05709"}


@dataclass(frozen=True)
class Evidence:
    """Recipe, provenance, initial weights and scores of a finished run.

    Attributes:
        name: Name of the run's folder.
        recipe: The recipe as it ran, its paths cut to their last part.
        provenance: Versions, device, data and the images of each split.
        transfers: Audit of every set of weights that was loaded at the start.
        start: Kind of initial weights: random, imagenet, coco, mean_var or run.
        metrics: Final scores.
        answer: Answer of the plan whose report counts the run, None if none does.
        body: Which tensors of the backbone are not those that were loaded, by what took their
            place; None where all are.
    """

    name: str
    recipe: PretrainRecipe | FinetuneRecipe
    provenance: Mapping[str, Any]
    transfers: tuple[Mapping[str, Any], ...]
    start: str
    metrics: Mapping[str, Any]
    answer: Answer | None
    body: Mapping[str, Any] | None = None

    @property
    def method(self) -> Mapping[str, str]:
        """The `name`, `title` and `paper` of a pretraining's method."""
        return dict(self.metrics.get("method", _FIRST_METHOD))

    @property
    def files(self) -> dict[str, bytes]:
        """Files of the evidence, by their path in the repository."""
        transfer: dict[str, Any] = {"start": self.start, "transfers": list(self.transfers)}
        transfer |= {} if self.body is None else {"body": self.body}
        files = {
            "evidence/recipe.yaml": to_yaml(self.recipe).encode(),
            "evidence/provenance.json": json_text(self.provenance).encode(),
            "evidence/transfer.json": json_text(transfer).encode(),
            "evidence/metrics.json": json_text(self.metrics).encode(),
        }
        if self.answer is not None and self.answer.figure is not None:
            files["evidence/label_efficiency.png"] = self.answer.figure
        return files


def read_evidence(run: Path) -> Evidence:
    """Read a finished run.

    Raises:
        RunError: If it has not finished, or one of its files is missing.
    """
    if not is_finished(run):
        raise RunError(
            f"{run} holds no finished run (metrics.json is missing), and a card without scores "
            "says nothing. Name the folder that `cxrssl pretrain` or `cxrssl finetune` wrote, or "
            "let it end with --resume."
        )
    recipe = _recipe(run)
    content = {
        name: read_record(run / f"{name}.json") for name in ("provenance", "transfer", "metrics")
    }
    transfer = content["transfer"]
    return Evidence(
        run.resolve().name,
        recipe,
        content["provenance"],
        tuple(
            item | {"source": str(path_end(Path(item["source"])))} for item in transfer["transfers"]
        ),
        transfer["start"],
        _without_names(content["metrics"]),
        _answer(run),
        transfer.get("body"),
    )


def _recipe(run: Path) -> PretrainRecipe | FinetuneRecipe:
    """Return the recipe of a run without folders of this machine: paths are cut to their ends."""

    def read(kind: type[Recipe]) -> Recipe:
        recipe = load_run_recipe(run, kind)
        return kind.model_validate(map_paths(recipe.model_dump(), path_end))

    return read(FinetuneRecipe) if (run / "detector").is_dir() else read(PretrainRecipe)


def _answer(run: Path) -> Answer | None:
    """Return the answer of the plan around a run, if its report counts the run.

    It does not count runs with faults of the published code, or of no arm of the plan.
    """
    folder, name = run.resolve().parent, run.resolve().name
    path, figure_path = folder / "report.json", folder / _FIGURE
    if not path.is_file():
        return None
    report = read_record(path)
    if name not in report.get("counted", []):
        return None
    figure_png = figure_path.read_bytes() if figure_path.is_file() else None
    remarks, cautions = tuple(report["remarks"]), tuple(report["cautions"])
    return Answer(report["plan"], report["answer"], remarks, cautions, figure_png)


def _without_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores in which readers are R1, R2 and so on, if they are called otherwise."""
    readers = metrics.get("readers")
    if readers is None:
        return dict(metrics)
    pairs, singles = readers.get("pairs", []), readers.get("leave_one_out", [])
    names = [row["reader"] for row in singles]
    names += [row[side] for row in pairs for side in ("a", "b")]
    if all(_READER.fullmatch(name) for name in names):
        return dict(metrics)
    number = {name: f"R{position}" for position, name in enumerate(dict.fromkeys(names), start=1)}
    changed = {
        "pairs": [row | {"a": number[row["a"]], "b": number[row["b"]]} for row in pairs],
        "leave_one_out": [row | {"reader": number[row["reader"]]} for row in singles],
    }
    return dict(metrics) | {"readers": dict(readers) | changed}
