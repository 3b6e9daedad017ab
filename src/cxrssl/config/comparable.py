"""Whether two fine-tunings differ in nothing but what treatments may differ in.

A treatment and its control are compared at equal data, labels, seeds, detector and labelled steps;
of the detector the backbone alone may be another one.
"""

from collections.abc import Iterator

from cxrssl.config.load import flattened, map_paths, path_end
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.config.treatments import is_settable


def unequal(recipe: FinetuneRecipe, control: FinetuneRecipe) -> list[str]:
    """Return the fields in which a recipe differs from its control's and must not, in words.

    Paths count by their last part, which stays when a folder is moved.
    """
    fields, others = _other_fields(recipe), _other_fields(control)
    names = [name for name in (fields | others) if fields.get(name) != others.get(name)]
    faults = [f"{name} is {fields.get(name)} and {others.get(name)}" for name in names]
    return [*faults, *_unequal_epochs(recipe, control)]


def _other_fields(recipe: FinetuneRecipe) -> dict[str, object]:
    """Return the fields that no treatment may set, by their dotted names."""
    content = map_paths(recipe.model_dump(), path_end)
    assert isinstance(content, dict)  # as a section is dumped
    return {key: value for key, value in flattened(content) if not is_settable(key)}


def _unequal_epochs(recipe: FinetuneRecipe, control: FinetuneRecipe) -> Iterator[str]:
    """Yield that epochs are not equally long where something counts them."""
    text = _unequal_repeats(recipe, control)
    if text is None:
        return
    # An epoch has a step at least, so that with as many epochs as steps they never end the run.
    if recipe.max_steps is None or recipe.epochs < recipe.max_steps:
        yield (
            f"{text}: set max_steps, and epochs to as many, so that both have the same labelled "
            "steps"
        )
    if recipe.optim.schedule == "steps":
        yield f"{text}, and optim.drop_epochs counts them: take the schedule cosine or constant"
    if recipe.keep == "best":
        yield f"{text}, and keep: best chooses among them: set keep to last"


def _unequal_repeats(recipe: FinetuneRecipe, control: FinetuneRecipe) -> str | None:
    """Return why their epochs are not equally long, None if they are."""
    repeats = [1.0 if side.paste is None else side.paste.repeats for side in (recipe, control)]
    if repeats[0] != repeats[1]:
        return (
            f"paste.repeats is {repeats[0]:g} and {repeats[1]:g}, which makes epochs of other "
            "lengths"
        )
    if recipe.paste is None or control.paste is None or repeats[0] == 1:
        return None
    sides = recipe.paste.largest_side, control.paste.largest_side
    if sides[0] == sides[1]:
        return None
    return (
        f"paste.largest_side is {sides[0]:g} and {sides[1]:g}, so that other images are repeated "
        "and epochs are of other lengths"
    )
