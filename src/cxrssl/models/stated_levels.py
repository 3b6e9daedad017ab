"""The grey levels that published weights were trained on, as the files beside them state."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.core.images import Intensity
from cxrssl.models.untrusted_config import read_mapping

_WEIGHTS_FILE = "model.safetensors"
# A recipe has two or three digits of the mean over colours.
_TOLERANCE = 0.005


def other_levels(file: Path, intensity: Intensity, *, source: str) -> str | None:
    """Return in what a recipe's grey levels differ from those of weights, None if in nothing.

    None as well if the weights state none: then nothing is known of them.

    Args:
        file: A file of weights; what is stated is in transformers' preprocessor_config.json, or in
            timm's config.json, beside a `model.safetensors`.
        intensity: The recipe's.
        source: Name of the weights in the message.
    """
    stated = _stated(file)
    if stated is None:
        return None
    mean, std = stated
    if abs(mean - intensity.mean) <= _TOLERANCE and abs(std - intensity.std) <= _TOLERANCE:
        return None
    return (
        f"{source} was trained on grey levels normalised by mean {mean:.4g} and standard deviation "
        f"{std:.4g} (over its colours), and the recipe has {intensity.mean:g} and "
        f"{intensity.std:g}. Set intensity.mean and intensity.std to these, unless it is meant."
    )


def _stated(file: Path) -> tuple[float, float] | None:
    """Return mean and standard deviation over the channels, None if none can be read."""
    if file.name != _WEIGHTS_FILE:
        return None
    for name, section, keys in (
        ("preprocessor_config.json", "", ("image_mean", "image_std")),
        ("config.json", "pretrained_cfg", ("mean", "std")),
    ):
        path = file.with_name(name)
        try:
            content = read_mapping(path, source=str(path), expected="") if path.is_file() else {}
        except DataError:
            continue  # of a file that can't be read nothing is known
        values = content.get(section, {}) if section else content
        found = [_mean(values, key) for key in keys]
        if None not in found:
            return found[0], found[1]  # type: ignore[return-value]
    return None


def _mean(values: object, key: str) -> float | None:
    numbers: Any = values.get(key) if isinstance(values, Mapping) else None
    if not isinstance(numbers, list) or not numbers:
        return None
    if not all(type(number) in (int, float) and 0 <= number <= 1 for number in numbers):
        return None
    return fmean(numbers)
