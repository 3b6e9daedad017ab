"""PixPro: each place of a view, smoothed, predicts a slow copy's embedding of it in another view.

Pairs are made by where places lie in the image, not by what they look like; there are no negatives.

Shapes: B images, F features, C channels of the last map, h and w its sides, N = hw places, D the
embedding's length.
Source: arXiv 2011.10043, sections 3.1 and 3.2, and the authors' code for what they leave open.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.byol import momentum_at
from cxrssl.ssl.followers import follow, follower
from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.maps import as_rows, features_and_map
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs, view_major


class Propagation(nn.Module):
    """The pixel propagation module: each place becomes a sum over the places that look like it.

    Source: arXiv 2011.10043, equations 3 and 4, with one linear layer.

    Attributes:
        transform: The linear layer on each place.
        sharpness: Exponent of the cosine similarities, which are 0 where they were negative.
    """

    def __init__(self, length: int, *, sharpness: float) -> None:
        super().__init__()
        self.transform = nn.Conv2d(length, length, kernel_size=1)
        self.sharpness = sharpness

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return a row for each place, [B, N, D], of embeddings [B, D, h, w]."""
        values = functional.normalize(as_rows(self.transform(embeddings)), dim=2)
        rows = functional.normalize(as_rows(embeddings), dim=2)
        similarities = (rows @ rows.transpose(1, 2)).clamp(min=0)
        smoothed: Tensor = similarities**self.sharpness @ values
        return smoothed


class PixPro(nn.Module):
    """An encoder, a head, a propagation after it, and a slow copy of the first two.

    Attributes:
        encoder: Images [B, 3, H, W] -> features [B, F], by way of a map: see `cxrssl.ssl.maps`.
        projector: Maps [B, C, h, w] -> embeddings [B, D, h, w], each place by itself.
        propagation: Embeddings -> predictions [B, N, D] of the copy's embeddings.
        copy: The encoder and the projector, for the targets; no gradient reaches it.
        momentum: Fraction of itself that the copy keeps in the first step; it rises to 1.
        pair_distance: See `pairs_of`.
    """

    title, paper = "PixPro", "arXiv 2011.10043"
    couples: Couples = "images"

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        propagation: nn.Module,
        *,
        momentum: float,
        pair_distance: float,
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.propagation = encoder, projector, propagation
        self.copy = follower(encoder, projector)
        self.momentum, self.pair_distance = momentum, pair_distance

    def forward(self, batch: Batch) -> Outputs:
        """Return predictions [B, N, D] of both views, targets [B, N, D], and features [B, F]."""
        images = view_major(batch["views"])
        features, values = features_and_map(self.encoder, images)
        predictions: Tensor = self.propagation(self.projector(values))
        with torch.no_grad():
            encoder, projector = self.copy
            targets = as_rows(projector(features_and_map(encoder, images)[1]))
        return *predictions.chunk(2), *targets.chunk(2), *features.chunk(2)

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return minus the cosine of pairs, averaged over an image's, both ways: -2..2.

        An image whose views have no pair counts with 0, so that it has no gradient.
        """
        first, second, first_target, second_target = map(at_least_float32, outputs[:4])
        is_pair = pairs_of(batch["places"], first.shape[1], self.pair_distance)
        cosines = _cosines(first, second_target)
        cosines = cosines + _cosines(second, first_target).transpose(1, 2)
        num_pairs = is_pair.sum(dim=(1, 2)).clamp(min=1)
        loss = -((cosines * is_pair).sum(dim=(1, 2)) / num_pairs).mean()
        # What an encoder has behind its map gets a gradient of 0: several processes want one.
        return {"loss": loss + 0 * sum(rows.mean() for rows in outputs[4:])}

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        """Return the targets [BN, D] of the first views' places."""
        return (outputs[2].flatten(0, 1),)

    def after_step(self, done: float) -> None:
        """Move the copy towards the encoder, the less the more of the run is done."""
        follow(self.copy, self.encoder, self.projector, momentum=momentum_at(self.momentum, done))

    def chance_loss(self, _batch_size: int) -> None:
        """Return None: without negatives there is no chance level; equal outputs have loss -2."""
        return None


def pairs_of(places: Tensor, num_places: int, distance: float) -> Tensor:
    """Return [B, N, N] bool: which places of the first view and of the second are a pair.

    Two are if the centres of their cells are nearer in the image than `distance` diagonals of the
    larger cell.

    Source: arXiv 2011.10043, equation 1.

    Args:
        places: [B, 2, 4] the place in the image of each view's left, top, right and bottom edge, in
            pixels; left is right of right in a mirrored view.
        num_places: N, of a square map.
        distance: In diagonals, > 0.
    """
    side = round(num_places**0.5)
    starts, sizes = places[:, :, :2], places[:, :, 2:] - places[:, :, :2]
    cells = torch.arange(side, device=places.device) + 0.5
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    centres = torch.stack([x, y], dim=-1).flatten(0, 1) / side  # [N, 2] of a view, line by line
    in_image = starts[:, :, None] + centres * sizes[:, :, None]  # [B, 2, N, 2]
    apart = in_image[:, 0, :, None] - in_image[:, 1, None]
    diagonals = (sizes / side).square().sum(dim=2)  # [B, 2], squared
    limit = distance**2 * diagonals.amax(dim=1)
    is_pair: Tensor = apart.square().sum(dim=3) < limit[:, None, None]
    return is_pair


def _cosines(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the cosine [B, N, N] of each prediction with each target, [B, N, D]."""
    predictions = functional.normalize(predictions, dim=2)
    return predictions @ functional.normalize(targets.detach(), dim=2).transpose(1, 2)
