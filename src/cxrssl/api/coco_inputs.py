"""COCO data sets that a call from Python gives, as files or as objects, scored."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from cxrssl.api.score_options import ScoreOptions
from cxrssl.core.errors import ArgumentError, CxrsslError
from cxrssl.evaluate.files import evaluate_files

if TYPE_CHECKING:
    from cxrssl.api.detector import Detections

_CONSENSUS_IOU = 0.2


@dataclass(frozen=True)
class CocoInputs:
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
        train_truth: object,
        options: ScoreOptions,
    ) -> dict[str, Any]:
        """Return the scores of predictions against a truth, all in any form.

        Raises:
            CxrsslError: See `evaluate`.
        """
        truth_file, predictions_file = self._file(truth, "truth"), self._predictions(predictions)
        drawn = None if readers is None else self._file(readers, "readers")
        train = None if train_truth is None else self._file(train_truth, "train_truth")
        try:
            content = evaluate_files(
                predictions_file,
                truth_file,
                drawn,
                options.against,
                consensus_iou=options.consensus_iou or _CONSENSUS_IOU,
                bootstrap=options.bootstrap,
                only=options.only,
                train_truth=train,
            )
        except CxrsslError as error:
            raise type(error)(self._without_folder(str(error))) from error
        for name in ("notes", "warnings"):
            content[name] = tuple(self._without_folder(text) for text in content[name])
        if "prior" in content:
            fitted_on = self._without_folder(content["prior"]["fitted_on"])
            content["prior"] = content["prior"] | {"fitted_on": fitted_on}
        content["warnings"] += _threshold_warnings(predictions)
        return content

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
    point = next((image.operating_point for image in predictions if image.operating_point), "")
    if point:
        text = (
            f"the detector was used at an {point}: AP and other scores count what it left out as "
            "missed. Load it without one, and call it with threshold=0."
        )
        return (text,)
    threshold = max(image.threshold for image in predictions)
    text = (
        f"the detector was called with threshold={threshold:g}: AP and other scores count the "
        "findings below it as missed. Call it with threshold=0."
    )
    return (text,) if threshold > 0 else ()
