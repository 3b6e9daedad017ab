"""Position: the network sees a patch of an image, and tells from which cell of a grid it is.

Shapes: B images, V patches of each, p the side of a patch, F the encoder's features, N cells.
Source: Bai et al., MICCAI 2019, arXiv 1907.02757, section 2.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.jigsaw import normalised_per_tile
from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major


class Position(nn.Module):
    """An encoder of patches, and a classifier of their features.

    Each patch is normalised by itself: the level of a film's border would tell its place, and so
    would how dark films are there on average.

    Attributes:
        encoder: Patches [VB, C, p, p] -> features [VB, F].
        classifier: Features [VB, F] -> scores [VB, N].
        num_cells: Number of cells, N.
    """

    title, paper = "position", "arXiv 1907.02757"
    couples: Couples = "images"

    def __init__(self, encoder: nn.Module, classifier: nn.Module, *, num_cells: int) -> None:
        super().__init__()
        self.encoder, self.classifier, self.num_cells = encoder, classifier, num_cells

    def forward(self, batch: Batch) -> Outputs:
        """Return the scores [B, V, N] of the cells that `patches` [B, V, C, p, p] may be of."""
        patches = batch["patches"]
        num_images, num_patches = patches.shape[:2]
        scores: Tensor = self.classifier(self.encoder(normalised_per_tile(view_major(patches))))
        return (scores.view(num_patches, num_images, -1).transpose(0, 1),)

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return the mean cross-entropy of the patches' cells [B, V]."""
        (scores,) = outputs
        rows = at_least_float32(scores).flatten(0, 1)
        return {"loss": functional.cross_entropy(rows, batch["cell"].flatten())}

    def compared(self, _outputs: Outputs) -> tuple[()]:
        """Return nothing: scores of classes are compared with labels."""
        return ()

    def after_step(self, _done: float) -> None:
        """Do nothing: gradients update all there is."""

    def chance_loss(self, _batch_size: int) -> float:
        """Return the loss of calling all cells equally likely."""
        return math.log(self.num_cells)
