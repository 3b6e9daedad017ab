"""`cxrssl.evaluate`: scores of detections against a truth, with intervals."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from cxrssl.api.arguments import PathLike
from cxrssl.api.coco_inputs import CocoInputs
from cxrssl.api.score_options import (
    ScoreOptions,
    StoreOptions,
    score_options,
    score_store,
    store_options,
)
from cxrssl.api.store import StoreImages
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.errors import ArgumentError
from cxrssl.core.processes import random_state_restored

if TYPE_CHECKING:
    from cxrssl.api.detector import Detections, Detector

CocoFile: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""The path of a COCO data set, or its content."""
_COLUMNS = ("value", "low", "high", "reason")


class UnknownScoreError(ArgumentError, KeyError):
    """No score has this name."""

    def __str__(self) -> str:
        """Return the text, which a KeyError would show as a quoted key."""
        return str(self.args[0])


@dataclass(frozen=True)
class Scores(Mapping[str, float | None]):
    """Scores with their 95 % intervals: `scores["AP50"]` is its value.

    A mapping: `"AP50" in scores`, `scores.items()` and `dict(scores)` work as for a dict.

    Attributes:
        content: The content of `cxrssl eval --json`: `metrics`, `per_class`, `operating_points`,
            `curves`, `readers`, `definitions` and more.
    """

    content: dict[str, Any]

    def __getitem__(self, name: str) -> float | None:
        """Return the value of a score by its name, None where it can't be computed.

        Raises:
            UnknownScoreError: If there is no score of this name; it is a KeyError.
        """
        value: float | None = self._entry(name)["value"]
        return value

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all scores."""
        return iter(self._metrics)

    def __len__(self) -> int:
        """Return the number of scores."""
        return len(self._metrics)

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a score by its name, None where there is none.

        Raises:
            UnknownScoreError: If there is no score of this name; it is a KeyError.
        """
        entry = self._entry(name)
        low, high = entry["low"], entry["high"]
        return None if low is None or high is None else (float(low), float(high))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return reasons why the scores may not be the intended ones."""
        return tuple(self.content.get("warnings", ()))

    def to_pandas(self) -> pd.DataFrame:
        """Return a row a score: value, low, high, and the reason where one of them is missing."""
        return pd.DataFrame.from_dict(self._metrics, orient="index", columns=list(_COLUMNS))

    def per_class(self) -> pd.DataFrame:
        """Return the same for every class and score, with both as the index."""
        rows = {
            (label, name): entry
            for label, scores in self.content.get("per_class", {}).items()
            for name, entry in scores.items()
        }
        index = pd.MultiIndex.from_tuples(list(rows), names=["class", "score"])
        return pd.DataFrame([*rows.values()], index=index, columns=list(_COLUMNS))

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows for this object."""
        return str(self.to_pandas().drop(columns="reason").to_html(float_format="{:.3f}".format))

    def _entry(self, name: str) -> dict[str, Any]:
        if name in self._metrics:
            return self._metrics[name]
        names = list(self._metrics)
        similar = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        hint = f" Did you mean {', '.join(similar)}?" if similar else ""
        text = ", ".join(names) or "none, as in a process that is not the main one"
        raise UnknownScoreError(f"there is no score {name!r}.{hint} There are: {text}.")

    @property
    def _metrics(self) -> dict[str, dict[str, Any]]:
        metrics: dict[str, dict[str, Any]] = self.content.get("metrics", {})
        return metrics


@disk_faults()
@random_state_restored()
def evaluate(  # noqa: PLR0913 - a keyword for each option of the command
    truth: CocoFile | StoreImages,
    predictions: "CocoFile | Sequence[Mapping[str, Any]] | Sequence[Detections] | Detector",
    *,
    readers: CocoFile | None = None,
    train_truth: CocoFile | None = None,
    against: PathLike | None = None,
    only: PathLike | None = None,
    split: str | None = None,
    fusion: str | None = None,
    consensus_iou: float | None = None,
    normals: bool | None = None,
    operating_points: PathLike | None = None,
    choose_on: str | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score detections against a truth, each score with a 95 % interval.

    Either `evaluate(coco, results)`, for anyone's detections, or `evaluate(store, detector)`, which
    detects in a split of a store as `cxrssl eval CHECKPOINT --data STORE` does. Of a store alone
    are split, fusion, normals, operating_points, choose_on; of COCO readers, train_truth.

    Args:
        truth: A COCO data set (path or content), or a store (folder, or from `open_store`).
        predictions: For COCO: results (path, list of results, or data set whose annotations have a
            `score`), or what a detector returned for a list of files, called with `threshold=0`;
            images are found by file name then. For a store: a detector, its folder or run, or
            `hf-hub:ORG/NAME[@REVISION]`.
        readers: A COCO data set whose annotations name a `reader`, to compare with.
        train_truth: A COCO data set of the training images, whose best fixed boxes are scored too.
        against: Other results, or what `cxrssl eval --json` wrote of them, to compare with.
        only: Score these images alone: a file with an id a line, or CSV with a column image_id.
        split: `train`, `val` or `test`; None for test.
        fusion: How readers' boxes become the truth, see `fuse`; None for as in the detector's run.
        consensus_iou: Overlap above which they are fused; None for that of the run, else 0.2.
        normals: Whether images without findings count; None for as in the run.
        operating_points: JSON file for NMS and thresholds that are chosen, for `load_detector`.
        choose_on: Split that these are chosen on; None for val.
        replicates: Draws of the images behind the intervals; 0 for none, or 50 and more.
        seed: Random seed of the draws.

    Returns:
        The scores. In a launch of several processes the main one has them, the others none.

    Raises:
        CxrsslError: If something can't be read, or truth and predictions do not belong together.
    """
    options = score_options(replicates, seed, consensus_iou, against, only)
    of_store = store_options(split, fusion, normals, operating_points, choose_on)
    store = _store_folder(truth)
    if store is None:
        return _score_files(truth, predictions, readers, train_truth, options, of_store)
    if readers is not None:
        raise ArgumentError("readers are those of the store; leave them out.")
    if train_truth is not None:
        raise ArgumentError("train_truth is that of the store, its training images; leave it out.")
    return Scores(score_store(store, predictions, options, of_store) or {})


def _score_files(
    truth: object,
    predictions: object,
    readers: object,
    train_truth: object,
    options: ScoreOptions,
    of_store: StoreOptions,
) -> Scores:
    if of_store.is_given:
        raise ArgumentError(
            "split, fusion, normals, operating_points and choose_on are about a store, and truth "
            "is a COCO data set. Leave them out."
        )
    with TemporaryDirectory(prefix="cxrssl-") as folder:
        coco_inputs = CocoInputs(Path(folder))
        return Scores(coco_inputs.scores(truth, predictions, readers, train_truth, options))


def _store_folder(truth: object) -> Path | None:
    """Return the folder of a store, None for a COCO data set."""
    if isinstance(truth, StoreImages):
        return truth.folder
    is_folder = isinstance(truth, str | os.PathLike) and Path(truth).is_dir()
    return Path(truth) if is_folder else None  # type: ignore[arg-type]
