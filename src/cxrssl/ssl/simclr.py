"""SimCLR: two views of an image are contrasted with the views of all other images of a batch.

Shapes: B images, C channels, F the encoder's features, D the embedding's length.
Source: arXiv 2002.05709, section 2.1.
"""

import math

from torch import Tensor, nn

from cxrssl.ssl.losses.nt_xent import nt_xent
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major


class SimCLR(nn.Module):
    """An encoder, a projection head that is thrown away afterwards, and NT-Xent.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F].
        projector: Features [B, F] -> embeddings [B, D].
        temperature: Divides the cosine similarity of embeddings.
    """

    title, paper = "SimCLR", "arXiv 2002.05709"
    couples: Couples = "batch"

    def __init__(self, encoder: nn.Module, projector: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.encoder, self.projector, self.temperature = encoder, projector, temperature

    def forward(self, batch: Batch) -> Outputs:
        """Return embeddings [B, D] of both `views`; all go through the network in one call."""
        embeddings: Tensor = self.projector(self.encoder(view_major(batch["views"])))
        return embeddings.chunk(2)

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return NT-Xent over the global batch; what has an anchor's `image` is no negative."""
        first, second = outputs
        temperature, images = self.temperature, batch["image"]
        return {"loss": nt_xent(first, second, temperature=temperature, images=images)}

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        """Return the embeddings [B, D] of the first views."""
        return (outputs[0],)

    def after_step(self, _done: float) -> None:
        """Do nothing: gradients update all there is."""

    def chance_loss(self, batch_size: int) -> float:
        """Return the loss of picking one of the other views at random.

        Where a patient has several films in a batch, it is a little less.
        """
        return math.log(2 * batch_size - 1)
