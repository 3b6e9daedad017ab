"""Pretraining recipes of the form that they had when SimCLR was the only method.

Their section `model` is now `body`, the backbone, and `method`. A recipe of the old form is refused
with a list of what moved where; one inside the folder of a run is read as if it had the new form.
"""

from collections.abc import Mapping
from typing import Any

MOVED = {
    "model": "body, the backbone, and method",
    "model.backbone": "body.backbone",
    "model.start": "body.start",
    "model.weights": "body.weights",
    "model.frozen_stages": "body.frozen_stages",
    "model.projector_layers": "method.projector_layers",
    "model.projector_hidden": "method.projector_hidden",
    "model.projector_outputs": "method.projector_outputs",
    "model.projector_batch_norm": "method.projector_batch_norm",
    "model.temperature": "method.temperature",
}
"""The current name of each field of the old form."""


def is_old_form(content: Mapping[str, Any]) -> bool:
    """Return whether content is a pretraining recipe of the old form."""
    return content.get("task") == "pretrain" and isinstance(content.get("model"), Mapping)


def moved_fields(content: Mapping[str, Any]) -> list[str]:
    """Return a line for each field of the old section, such as `a.b is now c.d`."""
    keys = [f"model.{key}" for key in content["model"]]
    lines = [f"{key} is now {MOVED[key]}" for key in keys if key in MOVED]
    return [*lines, "method.name is new: simclr"]


def new_form(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's content in the new form; all recipes of the old form are SimCLR."""
    fields: dict[str, Any] = {key: value for key, value in content.items() if key != "model"}
    fields |= {"body": {}, "method": {"name": "simclr"}}
    for key, value in content["model"].items():
        section, _, field = MOVED.get(f"model.{key}", f"body.{key}").partition(".")
        fields[section][field] = value
    return fields
