"""`cxrssl.evaluate`: scores of detections against a truth, with intervals."""

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import pandas as pd

from cxrssl.api.arguments import checked_integer, checked_number, checked_path
from cxrssl.api.store import StoreImages
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.errors import ArgumentError, CxrsslError
from cxrssl.core.processes import random_state_restored
from cxrssl.data.protocol import SPLITS
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap

if TYPE_CHECKING:
    from cxrssl.api.detector import Detections, Detector

CocoFile: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""The path of a COCO data set, or its content."""
_LEAST_REPLICATES = 50
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
def evaluate(
    truth: CocoFile | StoreImages,
    predictions: "CocoFile | Sequence[Mapping[str, Any]] | Sequence[Detections] | Detector",
    *,
    readers: CocoFile | None = None,
    against: str | os.PathLike[str] | None = None,
    split: str = "test",
    consensus_iou: float | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score detections against a truth, each score with a 95 % interval.

    Either `evaluate(coco, results)`, for anyone's detections, or `evaluate(store, detector)`, which
    detects in a split of a store as `cxrssl eval CHECKPOINT --data STORE` does.

    Args:
        truth: A COCO data set (path or content), or a store (folder, or from `open_store`).
        predictions: For COCO: results (path, list of results, or data set whose annotations have a
            `score`), or what a detector returned for a list of files, called with `threshold=0`;
            images are found by file name then. For a store: a detector, its folder or run, or
            `hf-hub:ORG/NAME[@REVISION]`.
        readers: A COCO data set whose annotations name a `reader`, to compare with; for COCO alone.
        against: Other results, or what `cxrssl eval --json` wrote of them, to compare with.
        split: Split of a store: `train`, `val` or `test`.
        consensus_iou: Overlap above which readers' boxes are fused; None for that of the detector's
            run, else 0.2.
        replicates: Draws of the images behind the intervals; 0 for none, or 50 and more.
        seed: Random seed of the draws.

    Returns:
        The scores. In a launch of several processes the main one has them, the others none.

    Raises:
        CxrsslError: If something can't be read, or truth and predictions do not belong together.
    """
    bootstrap = Bootstrap(
        checked_integer("replicates", replicates, at_least=0),
        checked_integer("seed", seed, at_least=0),
    )
    if 0 < replicates < _LEAST_REPLICATES:
        raise ArgumentError(
            f"replicates is {replicates}; so few draws give no interval. Take 0, or "
            f"{_LEAST_REPLICATES} and more."
        )
    if consensus_iou is not None:
        consensus_iou = checked_number("consensus_iou", consensus_iou, 0.01, 0.99)
    against_path = None if against is None else checked_path("against", against)
    store = _store_folder(truth)
    if store is not None:
        if readers is not None:
            raise ArgumentError("readers are those of the store; leave them out.")
        return _score_store(store, predictions, split, consensus_iou, bootstrap, against_path)
    with TemporaryDirectory(prefix="cxrssl-") as folder:
        coco_inputs = _CocoInputs(Path(folder))
        return coco_inputs.scores(
            truth, predictions, readers, against_path, consensus_iou or 0.2, bootstrap
        )


def _store_folder(truth: object) -> Path | None:
    """Return the folder of a store, None for a COCO data set."""
    if isinstance(truth, StoreImages):
        return truth.folder
    is_folder = isinstance(truth, str | os.PathLike) and Path(truth).is_dir()
    return Path(truth) if is_folder else None  # type: ignore[arg-type]


def _score_store(
    store: Path,
    detector: object,
    split: str,
    consensus_iou: float | None,
    bootstrap: Bootstrap,
    against: Path | None,
) -> Scores:
    from cxrssl.api.detector import Detector
    from cxrssl.evaluate.checkpoint import Extras
    from cxrssl.evaluate.checkpoint import evaluate as evaluate_checkpoint
    from cxrssl.run.process_state import process_restored

    if isinstance(detector, Detector) and not detector.is_single:
        raise ArgumentError(
            f"{detector.source}: detectors whose boxes are fused are not scored on a store. Give "
            "a COCO data set, and what the detector returned for its files with threshold=0."
        )
    checkpoint = detector.source if isinstance(detector, Detector) else detector
    if not isinstance(checkpoint, str | os.PathLike):
        raise ArgumentError(
            f"a store is scored with a detector; got {type(detector).__name__}. Give the folder of "
            "a detector, or what load_detector returned; for detections, give a COCO data set."
        )
    if split not in SPLITS:
        raise ArgumentError(f"split is {split!r}; expected {', '.join(SPLITS)}.")
    with process_restored():
        scores = evaluate_checkpoint(
            Path(checkpoint),
            store,
            split=split,
            consensus_iou=consensus_iou,
            bootstrap=bootstrap,
            extras=Extras(against=against),
        )
    return Scores(scores or {})


@dataclass(frozen=True)
class _CocoInputs:
    """COCO data sets as files or objects; objects are written to files, to be read from there.

    Attributes:
        folder: Folder of these files; messages do not name it.
    """

    folder: Path

    def scores(
        self,
        truth: object,
        predictions: object,
        readers: object,
        against: Path | None,
        consensus_iou: float,
        bootstrap: Bootstrap,
    ) -> Scores:
        """Return the scores of predictions against a truth, both in any form.

        Raises:
            CxrsslError: See `evaluate`.
        """
        truth_file, predictions_file = self._file(truth, "truth"), self._predictions(predictions)
        drawn = None if readers is None else self._file(readers, "readers")
        try:
            content = evaluate_files(
                predictions_file,
                truth_file,
                drawn,
                against,
                consensus_iou=consensus_iou,
                bootstrap=bootstrap,
            )
        except CxrsslError as error:
            raise type(error)(self._without_folder(str(error))) from error
        for name in ("notes", "warnings"):
            content[name] = tuple(self._without_folder(text) for text in content[name])
        content["warnings"] += _threshold_warnings(predictions)
        return Scores(content)

    def _file(self, value: object, name: str) -> Path:
        if isinstance(value, str | os.PathLike):
            return Path(value)
        path = self.folder / f"{name} (as given)"
        try:
            path.write_text(json.dumps(value), encoding="utf-8")
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"{name} are not the content of a COCO file ({error}). Give plain lists, dicts, "
                "numbers and text, such as json.load returns, or the path of a file."
            ) from error
        return path

    def _predictions(self, value: object) -> Path:
        if not isinstance(value, Mapping | Sequence | os.PathLike):
            from cxrssl.api.detector import Detections, Detector

            if isinstance(value, Detections | Detector):
                raise ArgumentError(
                    f"predictions are a {type(value).__name__}, and truth is a COCO data set. Give "
                    "what the detector returned for a list of its files: detector([FILE, ...], "
                    "threshold=0)."
                )
        if not _is_detections(value):
            return self._file(value, "predictions")
        from cxrssl.predict.formats import coco

        coco.write(self.folder, value, value[0].classes, source="cxrssl.evaluate")
        path = self.folder / "predictions (as given)"
        return (self.folder / "predictions.json").rename(path)

    def _without_folder(self, text: str) -> str:
        return text.replace(f"{self.folder}{os.sep}", "")


def _is_detections(value: object) -> TypeGuard[Sequence["Detections"]]:
    """Return whether a value is a detector's result for a list, without importing torch."""
    if not isinstance(value, Sequence) or not value or isinstance(value[0], Mapping):
        return False
    from cxrssl.api.detector import Detections

    return all(isinstance(image, Detections) for image in value)


def _threshold_warnings(predictions: object) -> tuple[str, ...]:
    """Return a warning if detections below a threshold are missing."""
    if not _is_detections(predictions):
        return ()
    threshold = max(image.threshold for image in predictions)
    text = (
        f"the detector was called with threshold={threshold:g}: AP and other scores count the "
        "findings below it as missed. Call it with threshold=0."
    )
    return (text,) if threshold > 0 else ()
