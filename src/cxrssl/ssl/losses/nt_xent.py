"""NT-Xent, the loss of SimCLR, over all processes.

Shapes: B images in this process, W processes, D the embedding's length.
Source: arXiv 2002.05709, Algorithm 1.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cxrssl.ssl.gather import all_processes, rank
from cxrssl.ssl.losses import at_least_float32


def nt_xent(
    first: Tensor, second: Tensor, *, temperature: float, images: Tensor | None = None
) -> Tensor:
    """Contrast every view with its partner against all other views of the global batch.

    Args:
        first: [B, D] embeddings of one view of each image, any scale.
        second: [B, D] embeddings of the other view, same order.
        temperature: Divides the cosine similarity, > 0.
        images: [B] int64 number of each image, or of the patient whom it shows; views with an
            anchor's number are no negatives of it. None if all are different.

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
    if images is not None:
        is_own = (images[:, None] == all_processes(images)).repeat(2, 2)  # [2B, 2BW]
        is_own = is_own.scatter(1, partner_column[:, None], value=False)
        logits = logits.masked_fill(is_own, float("-inf"))
    # Reducing inside the loss would round differently.
    return functional.cross_entropy(logits, partner_column, reduction="none").mean()
