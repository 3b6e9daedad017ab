"""State of a method beside its trained weights: a slow copy (EMA), and a queue of embeddings.

Both live in parameters and buffers, so they are part of checkpoints.

Shapes: K rows in a queue, B rows of a batch over all processes, D their length.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.core.state import move_towards

_NO_IMAGE = -1
_NUM_GROUPS = 2


def follower(*parts: nn.Module) -> nn.Sequential:
    """Return a copy of `parts`, one after the other, that no gradient reaches."""
    return nn.Sequential(*copy.deepcopy(parts)).requires_grad_(False)


def follow(follower: nn.Sequential, *parts: nn.Module, momentum: float) -> None:
    """Move a follower's parameters towards those of `parts`, and copy their buffers.

    Each parameter becomes momentum * itself + (1 - momentum) * the other; momentum is in [0, 1].
    """
    move_towards(follower, nn.ModuleList(parts), momentum=momentum)


def random_groups(num_images: int) -> tuple[Tensor, ...]:
    """Return the numbers of images, split at random into two groups: see `in_groups`.

    Fewer than four stay together: BatchNorm can't normalise a group of one image.
    """
    order = torch.randperm(num_images)
    return order.chunk(_NUM_GROUPS) if num_images >= 2 * _NUM_GROUPS else (order,)


@torch.no_grad()
def in_groups(
    embed: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, groups: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return what `embed` makes of images [B, C, H, W], in their order, a group at a time.

    A follower's BatchNorm then normalises each group by itself: see `cxrssl.ssl.moco`.
    """
    parts = [embed(images[group]) for group in groups]
    in_order = torch.cat(list(groups)).argsort()
    return tuple(torch.cat(rows)[in_order] for rows in zip(*parts, strict=True))


class Queue(nn.Module):
    """The last K rows that were put in, of unit length, each with its image.

    Attributes:
        rows: [K, D] float32; random until they have been replaced.
        images: [K] int64 number of each row's image in the pool, -1 for a random row.
        place: Index of the next row to replace.
    """

    rows: Tensor
    images: Tensor
    place: Tensor

    def __init__(self, num_rows: int, length: int) -> None:
        super().__init__()
        rows = functional.normalize(torch.randn(num_rows, length), dim=1)
        self.register_buffer("rows", rows)
        self.register_buffer("images", torch.full((num_rows,), _NO_IMAGE))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def put(self, rows: Tensor, images: Tensor) -> None:
        """Replace the oldest rows by rows [B, D] of unit length and their images [B], B <= K."""
        rows_replaced = (torch.arange(len(rows), device=rows.device) + self.place) % len(self.rows)
        self.rows.index_copy_(0, rows_replaced, rows.to(self.rows.dtype))
        self.images.index_copy_(0, rows_replaced, images)
        self.place.add_(len(rows)).remainder_(len(self.rows))
