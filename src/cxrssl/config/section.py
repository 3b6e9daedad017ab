"""What every part of a recipe is, and numbers that several have."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cxrssl.core.errors import HubError
from cxrssl.core.places import is_on_hub, parsed

Share = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a recipe: unknown fields are errors, and nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _is_pinned(place: Path) -> Path:
    if not is_on_hub(place):
        return place
    try:
        _, revision = parsed(place)
    except HubError as error:
        raise ValueError(str(error)) from error
    if revision is None:
        raise ValueError(
            f"a recipe says which revision it means: {place}@REVISION, a commit or a tag, such as "
            "the one that `cxrssl push` printed"
        )
    return place


Place = Annotated[Path, AfterValidator(_is_pinned)]
"""A file or folder, or `hf-hub:ORG/NAME@REVISION`."""
