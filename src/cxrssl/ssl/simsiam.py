"""SimSiam: each view predicts the other's embedding, which gets no gradient; no copy, no negatives.

Shapes: B images, F the encoder's features, D the embedding's length.
Source: arXiv 2011.10566, section 3 and algorithm 1.
"""

from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major


class SimSiam(nn.Module):
    """An encoder with two heads; what is predicted comes from the same weights.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F].
        projector: Features [B, F] -> embeddings [B, D].
        predictor: Embeddings [B, D] -> predictions [B, D] of the other view's embeddings.
    """

    title, paper = "SimSiam", "arXiv 2011.10566"
    couples: Couples = "images"

    def __init__(self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor

    def forward(self, batch: Batch) -> Outputs:
        """Return predictions [B, D] from both views, then the embeddings [B, D] of both."""
        embeddings: Tensor = self.projector(self.encoder(view_major(batch["views"])))
        predictions: Tensor = self.predictor(embeddings)
        return *predictions.chunk(2), *embeddings.chunk(2)

    def losses(self, outputs: Outputs, _batch: Batch) -> Losses:
        """Return minus the cosine of prediction and target, the mean of both ways: -1..1."""
        first, second, first_target, second_target = map(at_least_float32, outputs)
        both_ways = _similarity(first, second_target) + _similarity(second, first_target)
        return {"loss": -both_ways.mean() / 2}

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        """Return the embeddings [B, D] of the first views: arXiv 2011.10566, section 4.1."""
        return (outputs[2],)

    def after_step(self, _done: float) -> None:
        """Do nothing: gradients update all there is."""

    def chance_loss(self, _batch_size: int) -> None:
        """Return None: without negatives there is no chance level; equal outputs have loss -1."""
        return None


def _similarity(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the cosines [B] of rows [B, D]; targets get no gradient, or all become equal.

    Source: arXiv 2011.10566, equations 1 and 3.
    """
    return functional.cosine_similarity(predictions, targets.detach(), dim=1)
