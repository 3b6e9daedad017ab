"""What a run says of itself: read, and without the paths of the machine it was made on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrssl.config.load import Recipe, load_run_recipe, to_yaml
from cxrssl.config.schema import FinetuneRecipe, PretrainRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.files import json_text
from cxrssl.core.hub_address import PREFIX
from cxrssl.core.records import read_record
from cxrssl.run.folder import is_finished

_FIGURE = "report.png"
# As VinDr-CXR calls them; another name may be a person's.
_READER = re.compile(r"R\d+")


@dataclass(frozen=True)
class Answer:
    """What the report of a plan says of the labels that pretraining saved.

    Attributes:
        plan: Its name.
        text: The answer, with its interval.
        remarks: What stands beside it.
        cautions: What must be known before it is believed.
        figure: Score over the share of labels, as PNG; None if the report was not drawn.
    """

    plan: str
    text: str
    remarks: tuple[str, ...]
    cautions: tuple[str, ...]
    figure: bytes | None


# Runs whose metrics.json names no method were made when there was one.
_FIRST_METHOD = {"name": "simclr", "title": "SimCLR", "paper": "arXiv 2002.05709"}


@dataclass(frozen=True)
class Evidence:
    """What is known of a run.

    Attributes:
        name: Of its folder.
        recipe: As it ran, its paths cut to their ends.
        provenance: Versions, device, data and the images of each split.
        transfers: The audit of every part that it started from.
        start: What it started from.
        metrics: Its final scores.
        answer: Of the plan whose report counts it, None if none does.
    """

    name: str
    recipe: PretrainRecipe | FinetuneRecipe
    provenance: Mapping[str, Any]
    transfers: tuple[Mapping[str, Any], ...]
    start: str
    metrics: Mapping[str, Any]
    answer: Answer | None

    @property
    def method(self) -> Mapping[str, str]:
        """The `name`, `title` and `paper` of a pretraining's method."""
        return dict(self.metrics.get("method", _FIRST_METHOD))

    @property
    def files(self) -> dict[str, bytes]:
        """The same as files that go along, by their paths."""
        transfer = {"start": self.start, "transfers": list(self.transfers)}
        found = {
            "evidence/recipe.yaml": to_yaml(self.recipe).encode(),
            "evidence/provenance.json": json_text(self.provenance).encode(),
            "evidence/transfer.json": json_text(transfer).encode(),
            "evidence/metrics.json": json_text(self.metrics).encode(),
        }
        if self.answer is not None and self.answer.figure is not None:
            found["evidence/label_efficiency.png"] = self.answer.figure
        return found


def read_evidence(run: Path) -> Evidence:
    """Read a finished run.

    Raises:
        RunError: If it has not finished, or a file of it is missing.
    """
    if not is_finished(run):
        raise RunError(
            f"{run} holds no finished run (metrics.json is missing), and a card without scores "
            "says nothing. Name the folder that `cxrssl pretrain` or `cxrssl finetune` wrote, or "
            "let it end with --resume."
        )
    recipe = _recipe(run)
    content = {name: _read(run / f"{name}.json") for name in ("provenance", "transfer", "metrics")}
    transfer = content["transfer"]
    return Evidence(
        run.resolve().name,
        recipe,
        content["provenance"],
        tuple(one | {"source": _end(one["source"])} for one in transfer["transfers"]),
        transfer["start"],
        _without_names(content["metrics"]),
        _answer(run),
    )


def _recipe(run: Path) -> PretrainRecipe | FinetuneRecipe:
    """Return the recipe of a run, its paths cut to their ends."""

    def read(kind: type[Recipe]) -> Recipe:
        whole = load_run_recipe(run, kind)
        return kind.model_validate(_without_folders(whole.model_dump()))

    return read(FinetuneRecipe) if (run / "detector").is_dir() else read(PretrainRecipe)


def _read(path: Path) -> dict[str, Any]:
    return read_record(path)


def _answer(run: Path) -> Answer | None:
    """Return what the plan around a run says, if its report counts the run.

    A run with the faults of the published code, or one that lies there by chance, it does not.
    """
    folder, name = run.resolve().parent, run.resolve().name
    path, figure = folder / "report.json", folder / _FIGURE
    if not path.is_file():
        return None
    report = _read(path)
    if name not in report.get("counted", []):
        return None
    drawn = figure.read_bytes() if figure.is_file() else None
    remarks, cautions = tuple(report["remarks"]), tuple(report["cautions"])
    return Answer(report["plan"], report["answer"], remarks, cautions, drawn)


def _without_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores in which readers are R1, R2 and so on, if they are called otherwise."""
    readers = metrics.get("readers")
    if readers is None:
        return dict(metrics)
    pairs, alone = readers.get("pairs", []), readers.get("leave_one_out", [])
    names = [one["reader"] for one in alone]
    names += [one[side] for one in pairs for side in ("a", "b")]
    if all(_READER.fullmatch(name) for name in names):
        return dict(metrics)
    number = {name: f"R{place}" for place, name in enumerate(dict.fromkeys(names), start=1)}
    changed = {
        "pairs": [one | {"a": number[one["a"]], "b": number[one["b"]]} for one in pairs],
        "leave_one_out": [one | {"reader": number[one["reader"]]} for one in alone],
    }
    return dict(metrics) | {"readers": dict(readers) | changed}


def _without_folders(value: object) -> object:
    """Return fields with paths cut to their ends: where they lay is nobody's business."""
    if isinstance(value, Mapping):
        return {key: _without_folders(one) for key, one in value.items()}
    return _end(str(value)) if isinstance(value, Path) else value


def _end(place: str) -> str:
    """Return the last part of a path; of a product its run's too, of a name of the Hub all."""
    if place.startswith(PREFIX) or "/" not in place:
        return place
    parts = Path(place).parts
    return "/".join(parts[-2:] if parts[-1] == "backbone" else parts[-1:])
