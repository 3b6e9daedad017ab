"""MoCo v2: a view is contrasted with a queue of other images' views, embedded by a slow copy.

Where BatchNorm takes its statistics from the batch, a query could recognise its key by those that
both share. The authors shuffle the keys' images among GPUs against that; here each process splits
them at random into two groups, and each group is normalised by itself.

C2L, an option, adds two terms with mixed images. As in the authors' code: a share and an order of
the images are drawn once a call and serve both views, the image itself having the larger share;
mixed queries meet the keys of equally mixed images (homogeneous pairs), and the equally mixed keys
of the unmixed images (heterogeneous ones); the loss is the mean of the three terms. Left out: their
cutout, turns and colour changes of views, and their putting mixed keys into the queue as well. Here
it holds keys of single images, of which those of both images of a mixed query are left out.

Shapes: B images, D the embedding's length, K rows in the queue.
Source: MoCo, arXiv 1911.05722, algorithm 1 and "Shuffling BN" in section 3.3; version 2, arXiv
2003.04297, section 3 (its head). C2L: Zhou et al., "Comparing to Learn", MICCAI 2020, arXiv
2007.07423, section 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.followers import Queue, follow, follower, in_groups, random_groups
from cxrssl.ssl.gather import all_processes
from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.losses.info_nce import info_nce
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs


@dataclass(frozen=True)
class Mix:
    """How the images of a batch are mixed.

    Attributes:
        share: Share of the image itself, in [0.5, 1], a tensor of one number.
        order: [B] the image that is mixed into each.
    """

    share: Tensor
    order: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows [B, ...], each mixed with its partner."""
        return self.share * rows + (1 - self.share) * rows[self.order]


def random_mix(num_images: int, alpha: float) -> Mix:
    """Draw a share from Beta(alpha, alpha), or the rest if that is more, and partners."""
    drawn = torch.distributions.Beta(alpha, alpha).sample()
    return Mix(torch.maximum(drawn, 1 - drawn), torch.randperm(num_images))


class MoCo(nn.Module):
    """An encoder and a head, a slow copy of both, and a queue of the copy's embeddings.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F].
        projector: Features [B, F] -> embeddings [B, D].
        copy: Images -> embeddings; no gradient reaches it.
        queue: The last K keys.
        temperature: Divides the cosine similarity.
        momentum: Fraction of itself that the copy keeps in a step.
        mix_alpha: Images are mixed by shares from Beta(alpha, alpha); None for plain MoCo.
    """

    title, paper = "MoCo v2", "arXiv 2003.04297"
    couples: Couples = "batch"  # all keys of a batch enter the queue together

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        queue: Queue,
        *,
        temperature: float,
        momentum: float,
        mix_alpha: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.queue = encoder, projector, queue
        self.copy = follower(encoder, projector)
        self.temperature, self.momentum, self.mix_alpha = temperature, momentum, mix_alpha
        if mix_alpha is not None:
            self.title, self.paper = "C2L", "arXiv 2007.07423"
        self._new: tuple[Tensor, Tensor] | None = None

    def forward(self, batch: Batch) -> Outputs:
        """Return queries [B, D] of the first views and keys [B, D] of the second.

        With mixing also queries and keys of mixed images, mixed keys, all [B, D], and the number
        [B] of the image that was mixed into each, as float64: outputs have gradients.
        """
        first, second = batch["views"].unbind(1)
        queries: Tensor = self.projector(self.encoder(first))
        groups = random_groups(len(second))
        keys = self._keys(second, groups)
        if self.mix_alpha is None:
            return queries, keys
        mix = random_mix(len(first), self.mix_alpha)
        mixed_queries: Tensor = self.projector(self.encoder(mix(first)))
        mixed_keys = self._keys(mix(second), groups)
        partners = batch["image"][mix.order].double()
        return queries, keys, mixed_queries, mixed_keys, mix(keys), partners

    def _keys(self, images: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """Return keys [B, D] of images [B, C, H, W], each group normalised by itself."""
        (keys,) = in_groups(lambda images: (self.copy(images),), images, groups)
        return keys

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return InfoNCE against the queue, with mixing its three parts, and keep the keys."""
        queries, keys = outputs[0], outputs[1].detach()
        images = batch["image"]
        self._new = functional.normalize(at_least_float32(keys), dim=1), images
        loss = self._contrast(queries, keys, images)
        if self.mix_alpha is None:
            return {"loss": loss}
        mixed_queries, mixed_keys, keys_mixed, partners = outputs[2:]
        both = torch.stack([images, partners.detach().long()], dim=1)
        return {
            "single": loss / 3,
            "homogeneous": self._contrast(mixed_queries, mixed_keys.detach(), both) / 3,
            "heterogeneous": self._contrast(mixed_queries, keys_mixed.detach(), both) / 3,
        }

    def _contrast(self, queries: Tensor, keys: Tensor, images: Tensor) -> Tensor:
        return against_queue(self.queue, queries, keys, images=images, temperature=self.temperature)

    def compared(self, outputs: Outputs) -> tuple[Tensor]:
        """Return the queries [B, D] of the first views."""
        return (outputs[0],)

    def after_step(self, _done: float) -> None:
        """Put the keys of all processes into the queue, and move the copy."""
        assert self._new is not None  # a step has asked for losses
        keys, images = self._new
        self.queue.put(all_processes(keys), all_processes(images))
        follow(self.copy, self.encoder, self.projector, momentum=self.momentum)

    def chance_loss(self, _batch_size: int) -> float:
        """Return the loss of picking one of the key and the queue at random."""
        return math.log(1 + len(self.queue.rows))


def against_queue(
    queue: Queue, queries: Tensor, keys: Tensor, *, images: Tensor, temperature: float
) -> Tensor:
    """Return the mean InfoNCE of queries [B, D], each with its key in keys [B, D], any scale.

    Keys of a query's own image, or images, queued in an earlier epoch, are no negatives of it.

    Args:
        queue: The negatives.
        queries: The queries.
        keys: The key of each.
        images: [B] the image of each query, or [B, M] where M images are mixed in it.
        temperature: Divides the cosine similarity, > 0.
    """
    return info_nce(
        queries,
        keys,
        queue.rows,
        temperature=temperature,
        excluded=(images.view(len(images), -1, 1) == queue.images).any(dim=1),
    )
