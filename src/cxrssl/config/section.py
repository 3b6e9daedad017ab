"""What every part of a recipe is, and numbers that several have."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from cxrssl.core.errors import HubError, RecipeError
from cxrssl.core.hub_address import is_on_hub, parse_address
from cxrssl.core.printable import printable

Value = TypeVar("Value")

MOST = 1_000_000
"""Upper bound of images, epochs or channels; a run with more would never end."""

Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a recipe: unknown fields are errors, and nothing is changed after reading.

    Text has no control characters: it reaches batch scripts, reports and terminals.

    Attributes:
        moved: Where fields that a recipe used to have are now, dotted.
        other_names: Fields that may also be called otherwise: the field of each other name.
    """

    moved: ClassVar[Mapping[str, str]] = {}
    other_names: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change a field: what was checked stays as it is.

        Raises:
            RecipeError: Always.
        """
        raise RecipeError(
            f"{name} can't be changed: a recipe stays as it was checked. Make another one with "
            f'cxrssl.recipe(NAME, **{{"{name}": {value!r}}}); a field of a section has a dotted '
            "name, such as optim.peak_lr."
        )

    @model_validator(mode="before")
    @classmethod
    def _bool_is_no_number(cls, content: Value) -> Value:
        for name, value in content.items() if isinstance(content, Mapping) else ():
            field = cls.model_fields.get(name)
            kinds = list(_kinds(field.annotation)) if field is not None else []
            is_number = bool not in kinds and (int in kinds or float in kinds)
            if isinstance(value, bool) and is_number:
                raise ValueError(f"{name} is {value}: expected a number")
        return content

    @field_validator("*", mode="after")
    @classmethod
    def _text_is_plain(cls, value: Value) -> Value:
        for text in _texts(value):
            if printable(text) != text:
                raise ValueError(
                    f"a control character, a line break or a mark of direction is in {text[:60]!a}"
                )
        return value


def _kinds(annotation: object) -> Iterator[object]:
    """Yield the types in an annotation, such as `int` and `None` of `int | None`."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _texts(value: object) -> Iterator[str]:
    """Yield all text in a value, also keys; sections inside check their own text."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping):
        for key, content in value.items():
            yield from _texts(key)
            yield from _texts(content)
    elif isinstance(value, list | tuple | set | frozenset):
        for content in value:
            yield from _texts(content)


def _check_pinned(path: Path) -> Path:
    if not is_on_hub(path):
        return path
    try:
        _, revision = parse_address(path)
    except HubError as error:
        raise ValueError(str(error)) from error
    if revision is None:
        raise ValueError(
            f"a recipe says which revision it means: {path}@REVISION, a commit or a tag, such as "
            "the one that `cxrssl push` printed"
        )
    return path


WeightsPath = Annotated[Path, AfterValidator(_check_pinned)]
"""A file or folder, or `hf-hub:ORG/NAME@REVISION`."""

NO_PUBLISHED_WEIGHTS = (
    "start: published needs weights: a safetensors file, or hf-hub:ORG/NAME@REVISION such as "
    "hf-hub:timm/vit_small_patch14_dinov2.lvd142m@main"
)
