"""DenseCL: MoCo v2 on whole views, and the same contrast between single places of their maps.

A place of the first view has as its key the place of the second that looks most like it to the
backbone. Its negatives are other images' dense keys, averaged over all places and queued.

Shapes: B images, F features, C channels of the last map, h and w its sides, N = hw places, D the
embedding's length, K rows in each queue.
Source: arXiv 2011.09157, sections 3.2 to 3.4. Where the text leaves open whose maps are compared,
this does what the authors' code does: the encoder's of the first view, the slow copy's of the
second.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.followers import Queue, follow, follower, in_groups, random_groups
from cxrssl.ssl.gather import all_processes
from cxrssl.ssl.losses import at_least_float32
from cxrssl.ssl.maps import as_rows, features_and_map
from cxrssl.ssl.moco import against_queue
from cxrssl.ssl.pretext import Batch, Couples, Losses, Outputs


class DenseCL(nn.Module):
    """An encoder with two heads, a slow copy of all three, and two queues of the copy's embeddings.

    Attributes:
        encoder: Images [B, 3, H, W] -> features [B, F], by way of a map: see `cxrssl.ssl.maps`.
        projector: Features [B, F] -> embeddings [B, D].
        dense_projector: Maps [B, C, h, w] -> embeddings [B, D, h, w], each place by itself.
        copy: The encoder and both heads; no gradient reaches it.
        queue: The last K keys of whole views.
        dense_queue: The last K means of a view's dense keys.
        temperature: Divides the cosine similarities.
        momentum: Fraction of itself that the copy keeps in a step.
        dense_weight: Weight of the dense part of the loss, in [0, 1]; the other part has the rest.
    """

    title, paper = "DenseCL", "arXiv 2011.09157"
    couples: Couples = "batch"  # all keys of a batch enter the queues together

    def __init__(
        self,
        encoder: nn.Module,
        heads: tuple[nn.Module, nn.Module],
        queues: tuple[Queue, Queue],
        *,
        temperature: float,
        momentum: float,
        dense_weight: float,
    ) -> None:
        super().__init__()
        self.encoder, (self.projector, self.dense_projector) = encoder, heads
        self.queue, self.dense_queue = queues
        self.copy = follower(encoder, *heads)
        self.temperature, self.momentum = temperature, momentum
        self.dense_weight = dense_weight
        self._new: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, batch: Batch) -> Outputs:
        """Return queries and keys [B, D], dense ones [B, N, D], and the mean dense key [B, D].

        The dense key at a place is the one that its dense query is to be matched with.
        """
        features, values = features_and_map(self.encoder, batch["views"][:, 0])
        queries = self.projector(features)
        dense_queries = as_rows(self.dense_projector(values))
        second = batch["views"][:, 1]
        keys, other_values, dense_keys = in_groups(
            self._embedded, second, random_groups(len(second))
        )
        places = most_similar(values, other_values)
        matched = dense_keys.take_along_dim(places[:, :, None], dim=1)
        return queries, keys, dense_queries, matched, dense_keys.mean(dim=1)

    def _embedded(self, images: Tensor) -> Outputs:
        """Return the copy's keys [B, D], maps [B, C, h, w] and dense keys [B, N, D] of images."""
        encoder, projector, dense_projector = self.copy
        features, values = features_and_map(encoder, images)
        return projector(features), values, as_rows(dense_projector(values))

    def losses(self, outputs: Outputs, batch: Batch) -> Losses:
        """Return InfoNCE of views and of places, each with its weight, and keep the keys."""
        queries, keys, dense_queries, dense_keys, mean_keys = outputs
        images, num_places = batch["image"], dense_queries.shape[1]
        self._new = _unit(keys), _unit(mean_keys), images
        of_views = against_queue(
            self.queue, queries, keys.detach(), images=images, temperature=self.temperature
        )
        of_places = against_queue(
            self.dense_queue,
            dense_queries.flatten(0, 1),
            dense_keys.detach().flatten(0, 1),
            images=images.repeat_interleave(num_places),
            temperature=self.temperature,
        )
        return {
            "loss_global": (1 - self.dense_weight) * of_views,
            "loss_dense": self.dense_weight * of_places,
        }

    def compared(self, outputs: Outputs) -> tuple[Tensor, ...]:
        """Return the queries [B, D] of the first views and [BN, D] of their places, if trained."""
        heads = (outputs[0], 1 - self.dense_weight), (outputs[2].flatten(0, 1), self.dense_weight)
        return tuple(rows for rows, weight in heads if weight > 0)

    def after_step(self, _done: float) -> None:
        """Put the keys of all processes into the queues, and move the copy."""
        assert self._new is not None  # a step has asked for losses
        keys, mean_keys, images = map(all_processes, self._new)
        self.queue.put(keys, images)
        self.dense_queue.put(mean_keys, images)
        parts = self.encoder, self.projector, self.dense_projector
        follow(self.copy, *parts, momentum=self.momentum)

    def chance_loss(self, _batch_size: int) -> float:
        """Return the loss of picking one of the key and the queue at random; both queues are K."""
        return math.log(1 + len(self.queue.rows))


@torch.no_grad()
def most_similar(first: Tensor, second: Tensor) -> Tensor:
    """Return [B, N] int64: for each place of a map, the place of the other of largest cosine.

    Source: arXiv 2011.09157, section 3.4.

    Args:
        first: [B, C, h, w], any scale.
        second: [B, C, h, w] the other map of each image, any scale.
    """
    with torch.autocast(first.device.type, enabled=False):  # in half precision many would be equal
        first, second = (_unit(as_rows(values), dim=2) for values in (first, second))
        return (first @ second.transpose(1, 2)).argmax(dim=2)


def _unit(rows: Tensor, dim: int = 1) -> Tensor:
    return functional.normalize(at_least_float32(rows.detach()), dim=dim)
