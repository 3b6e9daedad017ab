"""BYOL: a network predicts a slow copy's embedding of another view of the image; no negatives.

Shapes: B images, D the embedding's length.
Source: arXiv 2006.07733, sections 3.1 and 3.3.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.followers import follow, follower
from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major


class BYOL(nn.Module):
    """An encoder with two heads, and a slow copy of the encoder and the first head.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F].
        projector: Features [B, F] -> embeddings [B, D].
        predictor: Embeddings [B, D] -> predictions [B, D] of the copy's embeddings.
        copy: Images -> embeddings, the target; no gradient reaches it.
        momentum: Fraction of itself that the copy keeps in the first step; it rises to 1.
    """

    title, paper = "BYOL", "arXiv 2006.07733"
    couples: Couples = "images"

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module, *, momentum: float
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.copy = follower(encoder, projector)
        self.momentum = momentum

    def forward(self, batch: Batch) -> Outputs:
        """Return predictions [B, D] from both views, then the targets [B, D] of both."""
        images = view_major(batch["views"])
        predictions: Tensor = self.predictor(self.projector(self.encoder(images)))
        with torch.no_grad():
            targets: Tensor = self.copy(images)
        return *predictions.chunk(2), *targets.chunk(2)

    def losses(self, outputs: Outputs, _batch: Batch) -> Losses:
        """Return the distance of each view's prediction to the other's target, both ways: 0..8."""
        first, second, first_target, second_target = map(at_least_float32, outputs)
        distance = _distance(first, second_target) + _distance(second, first_target)
        return {"loss": distance.mean()}

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        """Return the targets [B, D] of the first views.

        Predictions may be alike as long as little can be predicted.
        """
        return (outputs[2],)

    def after_step(self, done: float) -> None:
        """Move the copy towards the encoder, the less the more of the run is done."""
        follow(self.copy, self.encoder, self.projector, momentum=momentum_at(self.momentum, done))

    def chance_loss(self, _batch_size: int) -> None:
        """Return None: without negatives there is no chance level; equal outputs have loss 0."""
        return None


def momentum_at(start: float, done: float) -> float:
    """Return the copy's momentum, which rises from `start` to 1 as a cosine.

    Source: arXiv 2006.07733, section 3.3.
    """
    return 1 - (1 - start) * (math.cos(math.pi * done) + 1) / 2


def _distance(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the squared distance [B] of rows [B, D] on the unit sphere; targets get no gradient.

    Source: arXiv 2006.07733, equation 2.
    """
    return 2 - 2 * functional.cosine_similarity(predictions, targets.detach(), dim=1)
