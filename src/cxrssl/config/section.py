"""What every part of a recipe is, and numbers that several have."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a recipe: unknown fields are errors, and nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
