"""MoCo v2: a view is contrasted with a queue of other images' views, embedded by a slow copy.

Where BatchNorm takes its statistics from the batch, a query could recognise its key by those that
both share. The authors shuffle the keys' images among GPUs against that; here each process splits
them at random into two groups, and each group is normalised by itself.

Shapes: B images, D the embedding's length, K rows in the queue.
Source: MoCo, arXiv 1911.05722, algorithm 1 and "Shuffling BN" in section 3.3; version 2, arXiv
2003.04297, section 3 (its head).
"""

import math

from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.followers import Queue, follow, follower, in_random_groups
from cxrssl.ssl.gather import all_processes
from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.losses.info_nce import info_nce
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs


class MoCo(nn.Module):
    """An encoder and a head, a slow copy of both, and a queue of the copy's embeddings.

    Attributes:
        encoder: Images [B, C, H, W] -> features [B, F].
        projector: Features [B, F] -> embeddings [B, D].
        copy: Images -> embeddings; no gradient reaches it.
        queue: The last K keys.
        temperature: Divides the cosine similarity.
        momentum: Fraction of itself that the copy keeps in a step.
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
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.queue = encoder, projector, queue
        self.copy = follower(encoder, projector)
        self.temperature, self.momentum = temperature, momentum
        self._new: tuple[Tensor, Tensor] | None = None

    def forward(self, batch: Batch) -> Outputs:
        """Return queries [B, D] of the first views and keys [B, D] of the second."""
        queries: Tensor = self.projector(self.encoder(batch["views"][:, 0]))
        (keys,) = in_random_groups(lambda images: (self.copy(images),), batch["views"][:, 1])
        return queries, keys

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return InfoNCE against the queue, and keep the keys for it."""
        queries, keys = outputs[0], outputs[1].detach()
        images = batch["image"]
        self._new = functional.normalize(at_least_float32(keys), dim=1), images
        return {
            "loss": against_queue(
                self.queue, queries, keys, images=images, temperature=self.temperature
            )
        }

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

    Keys of a query's own image, queued in an earlier epoch, are no negatives of it.

    Args:
        queue: The negatives.
        queries: The queries.
        keys: The key of each.
        images: [B] the image of each query.
        temperature: Divides the cosine similarity, > 0.
    """
    return info_nce(
        queries,
        keys,
        queue.rows,
        temperature=temperature,
        excluded=images[:, None] == queue.images,
    )
