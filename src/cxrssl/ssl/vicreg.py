"""VICReg: two views get the same embedding, whose numbers must vary and not repeat each other.

Shapes: B images, F the encoder's features, D the embedding's length.
Source: arXiv 2105.04906, section 4.
"""

from torch import Tensor, nn

from cxrssl.ssl.losses.vicreg import vicreg
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major


class VICReg(nn.Module):
    """An encoder, an expander that is thrown away afterwards, and the three terms of the loss.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F].
        expander: Features [B, F] -> embeddings [B, D], not normalised at its end.
        invariance: Weight of the distance of an image's two views, lambda in the paper.
        variance: Weight of what a deviation lacks of 1, mu in the paper.
        covariance: Weight of the squared covariances, nu in the paper.
    """

    title, paper = "VICReg", "arXiv 2105.04906"
    couples: Couples = "batch"  # deviations and covariances are those of all images

    def __init__(
        self,
        encoder: nn.Module,
        expander: nn.Module,
        *,
        invariance: float,
        variance: float,
        covariance: float,
    ) -> None:
        super().__init__()
        self.encoder, self.expander = encoder, expander
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(self, batch: Batch) -> Outputs:
        """Return embeddings [B, D] of both `views`; all go through the network in one call."""
        embeddings: Tensor = self.expander(self.encoder(view_major(batch["views"])))
        return embeddings.chunk(2)

    def losses(self, outputs: Outputs, _batch: Batch) -> Losses:
        """Return the three terms with their weights."""
        terms = vicreg(*outputs)
        return {
            "invariance": self.invariance * terms.invariance,
            "variance": self.variance * terms.variance,
            "covariance": self.covariance * terms.covariance,
        }

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        """Return the embeddings [B, D] of the first views, less their mean, which is free."""
        return (outputs[0] - outputs[0].mean(dim=0),)

    def after_step(self, _done: float) -> None:
        """Do nothing: gradients update all there is."""

    def chance_loss(self, _batch_size: int) -> None:
        """Return None: without negatives there is no chance level."""
        return None
