"""Jigsaw: nine tiles of an image are shuffled, and the network tells in which order they are.

Shapes: B images, t the side of a tile, F the encoder's features, P orders.
Source: Noroozi and Favaro, arXiv 1603.09246, sections 3.1 and 3.3.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major

# Below this the grey levels of a tile are noise, such as in a black border.
_LEAST_STD = 0.01


class Jigsaw(nn.Module):
    """An encoder that sees each tile alone, and a classifier of all its features.

    Attributes:
        encoder: Tiles [B, C, t, t] -> features [B, F].
        classifier: Features of nine tiles, place by place, [B, 9F] -> scores [B, P].
        num_orders: Number of orders, P.
    """

    title, paper = "Jigsaw", "arXiv 1603.09246"
    couples: Couples = "images"

    def __init__(self, encoder: nn.Module, classifier: nn.Module, *, num_orders: int) -> None:
        super().__init__()
        self.encoder, self.classifier, self.num_orders = encoder, classifier, num_orders

    def forward(self, batch: Batch) -> Outputs:
        """Return the scores [B, P] of the orders that `tiles` [B, 9, C, t, t] may be in."""
        tiles = batch["tiles"]
        num_images, num_tiles = tiles.shape[:2]
        features: Tensor = self.encoder(normalised_per_tile(view_major(tiles)))
        by_image = features.view(num_tiles, num_images, -1).transpose(0, 1)
        scores: Tensor = self.classifier(by_image.flatten(1))
        return (scores,)

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return the cross-entropy of each image's order."""
        (scores,) = outputs
        return {"loss": functional.cross_entropy(at_least_float32(scores), batch["order"])}

    def compared(self, _outputs: Outputs) -> tuple[()]:
        """Return nothing: scores of classes are compared with labels."""
        return ()

    def after_step(self, _done: float) -> None:
        """Do nothing: gradients update all there is."""

    def chance_loss(self, _batch_size: int) -> float:
        """Return the loss of calling all orders equally likely."""
        return math.log(self.num_orders)


def normalised_per_tile(tiles: Tensor) -> Tensor:
    """Return tiles [N, C, t, t], each with mean 0 and deviation 1 over its own levels.

    Otherwise neighbours would be known by their brightness, which changes slowly over an image.
    """
    deviation, mean = torch.std_mean(tiles, dim=(1, 2, 3), keepdim=True, correction=0)
    return (tiles - mean) / deviation.clamp(min=_LEAST_STD)
