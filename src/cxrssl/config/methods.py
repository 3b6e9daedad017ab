"""What a pretraining recipe may say of its method; one section a method, told apart by `name`.

The methods themselves are in `cxrssl.ssl`.
"""

from typing import Annotated, Literal

from pydantic import Field

from cxrssl.config.section import MOST, Section

Width = Annotated[int, Field(gt=0, le=MOST)]
Temperature = Annotated[float, Field(gt=0)]


class SimclrSection(Section):
    """SimCLR, arXiv 2002.05709."""

    name: Literal["simclr"]
    projector_layers: Literal[2, 3]
    projector_hidden: Width
    projector_outputs: Width
    projector_batch_norm: bool
    """Whether BatchNorm follows the head's linear layers: in SimCLR's code, not in its text."""
    temperature: Temperature
    """Divides the cosine similarities."""


MethodSection = SimclrSection
