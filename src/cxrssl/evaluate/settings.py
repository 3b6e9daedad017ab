"""Which images of a store a detector is scored on, and what is the truth there."""

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


@dataclass(frozen=True)
class Asked:
    """What a user says of the images; None is for what is not said.

    Attributes:
        split: Of the store.
        fusion: How readers' boxes become the truth.
        consensus_iou: Overlap above which they are fused.
        normals: Whether images without findings count.
    """

    split: Split
    fusion: str | None
    consensus_iou: float | None
    normals: bool | None


_DEFAULTS = Asked("test", "consensus", 0.2, normals=False)


@dataclass(frozen=True)
class Settings:
    """What is done, as the scores record it; attributes as in `Asked`."""

    split: Split
    fusion: str
    consensus_iou: float
    normals: bool


def settings_of(checkpoint: Path, asked: Asked) -> tuple[Settings, Remarks]:
    """Return the settings of an evaluation: as asked, else those of the detector's run.

    A detector without a run beside it, such as one from the Hub, has the defaults.

    Args:
        checkpoint: A run, or the folder of a detector.
        asked: What the user says.

    Returns:
        The settings, and where they come from.
    """
    path = _recipe_of(checkpoint)
    values = _DEFAULTS
    warnings: tuple[str, ...] = ()
    if path is not None:
        try:
            data = load_recipe(path, FinetuneRecipe, overrides=[]).data
            values = Asked("test", data.fusion, data.consensus_iou, data.normals)
        except RecipeError as error:
            path, warnings = None, (f"the settings of the run are not known: {error}",)
    origin = "the default" if path is None else f"as in {path}"
    used: dict[str, Any] = {}
    words = []
    for name in ("fusion", "consensus_iou", "normals"):
        own, said = getattr(values, name), getattr(asked, name)
        used[name] = own if said is None else said
        of_run = "" if path is None or said in (None, own) else f" (the run has {_word(own)})"
        words.append(f"{name} {_word(used[name])}{of_run}")
    text = (
        f"scored on the {asked.split} split with {', '.join(words)}; what was not asked for is "
        f"{origin}"
    )
    return Settings(asked.split, **used), Remarks((text,), warnings)


def _recipe_of(checkpoint: Path) -> Path | None:
    """Return the recipe of the run that a path names, or in which it is the detector."""
    folder = checkpoint.resolve()
    for run in (folder, folder.parent) if folder.name in _IN_A_RUN else (folder,):
        if (run / _RECIPE).is_file():
            return run / _RECIPE
    return None


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
