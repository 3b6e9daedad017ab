"""The section `gate` of a fine-tuning recipe: an image-level gate, null for none.

`finetune.gate` says how it is fitted, `models.published.heads_cxr_rcnn.ImageGate` what it does.
"""

from typing import Annotated

from pydantic import Field

from cxrssl.config.section import Probability, Section
from cxrssl.models.ranges import MOST_POWER


class GateSection(Section):
    """The probability p that an image has a finding, which changes the scores of its boxes.

    It is fitted after the last step, on the detector that is kept, which stays as it is.
    """

    power: Annotated[float, Field(ge=0, le=MOST_POWER)]
    """Scores are multiplied by p to this power; 0 leaves them as they are."""
    drop_below: Probability
    """An image with p below it keeps no box; 0 drops none."""
    weight_decay: Annotated[float, Field(gt=0, le=1_000)]
    """Weight of half the squared norm of the weights, beside the mean loss of an image, on
    features of variance 1. Not 0: few images can be told apart perfectly, by endless weights."""
