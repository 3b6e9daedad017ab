"""NT-Xent, the loss of SimCLR, over all processes.

Shapes: B images in this process, W processes, D the embedding's length.
Source: arXiv 2002.05709, Algorithm 1.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cxrssl.ssl.gather import all_processes, rank
from cxrssl.ssl.losses import at_least_float32


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Contrast every view with its partner against all other views of the global batch.

    Args:
        first: [B, D] embeddings of one view of each image, any scale.
        second: [B, D] embeddings of the other view, same order.
        temperature: Divides the cosine similarity, > 0.

    Returns:
        The mean over this process's 2B anchors; the mean of that over processes, which is what
        gradient averaging takes, is the loss of the whole batch. Computed in float32 at least.
    """
    first, second = (
        functional.normalize(at_least_float32(view), dim=1) for view in (first, second)
    )
    all_first, all_second = all_processes(first), all_processes(second)
    image = torch.arange(len(first), device=first.device) + rank() * len(first)
    num_images = len(all_first)
    all_views = torch.cat([all_first, all_second])  # [2BW, D]
    logits = torch.cat([first, second]) @ all_views.T / temperature  # [2B, 2BW]
    own_column = torch.cat([image, image + num_images])
    partner_column = torch.cat([image + num_images, image])
    logits = logits.scatter(1, own_column[:, None], float("-inf"))
    # Reducing inside the loss would round differently.
    return functional.cross_entropy(logits, partner_column, reduction="none").mean()
