"""Settings of an evaluation: the images of a store that are scored, and the truth there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RecipeError
from cxrssl.data.coco.index import Remarks
from cxrssl.data.protocol import Split

_RECIPE = "recipe.yaml"
_IN_A_RUN = ("detector", "best")


_DEFAULTS: dict[str, Any] = {"fusion": "consensus", "consensus_iou": 0.2, "normals": False}


@dataclass(frozen=True)
class Settings:
    """What is scored, as the scores record it.

    Attributes:
        split: Split of the store.
        fusion: How readers' boxes become the truth.
        consensus_iou: Overlap above which they are fused.
        normals: Whether images without findings count.
    """

    split: Split
    fusion: str
    consensus_iou: float
    normals: bool


def settings_of(
    checkpoint: Path,
    split: Split = "test",
    *,
    fusion: str | None = None,
    consensus_iou: float | None = None,
    normals: bool | None = None,
) -> tuple[Settings, Remarks]:
    """Return the settings of an evaluation: those of the user, else those of the detector's run.

    A detector without a run beside it, such as one from the Hub, has the defaults.

    Args:
        checkpoint: A run, or the folder of a detector.
        split: As in `Settings`.
        fusion: As in `Settings`; None where the user names none, like all that follow.
        consensus_iou: As in `Settings`.
        normals: As in `Settings`.

    Returns:
        The settings, and where they come from.
    """
    requested = {"fusion": fusion, "consensus_iou": consensus_iou, "normals": normals}
    path, of_run = recipe_of(checkpoint), _DEFAULTS
    warnings: tuple[str, ...] = ()
    if path is not None:
        try:
            data = load_recipe(path, FinetuneRecipe, overrides=[]).data
            of_run = {name: getattr(data, name) for name in _DEFAULTS}
        except RecipeError as error:
            path, warnings = None, (f"the settings of the run are not known: {error}",)
    used = of_run | {name: value for name, value in requested.items() if value is not None}
    texts = [f"{name} {_as_text(value)}" for name, value in used.items()]
    if path is not None:
        for index, (name, value) in enumerate(used.items()):
            if value != of_run[name]:
                texts[index] += f" (the run has {_as_text(of_run[name])})"
    text = (
        f"scored on the {split} split with {', '.join(texts)}; what was not asked for is "
        f"{'the default' if path is None else f'as in {path}'}"
    )
    return Settings(split, **used), Remarks((text,), warnings)


def recipe_of(checkpoint: Path) -> Path | None:
    """Return the recipe of the run that a path names, or in which it is the detector."""
    folder = checkpoint.resolve()
    for run in (folder, folder.parent) if folder.name in _IN_A_RUN else (folder,):
        if (run / _RECIPE).is_file():
            return run / _RECIPE
    return None


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
