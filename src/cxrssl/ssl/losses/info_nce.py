"""InfoNCE: a query must be matched with its own key among keys of other images.

Shapes: B queries in this process, K negatives, D their length.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cxrssl.ssl.losses import at_least_float32


def info_nce(
    queries: Tensor, keys: Tensor, negatives: Tensor, *, temperature: float, excluded: Tensor
) -> Tensor:
    """Return the mean loss over the queries, in float32 at least.

    Source: MoCo, arXiv 1911.05722, equation 1.

    Args:
        queries: [B, D], any scale.
        keys: [B, D] the key of each, any scale.
        negatives: [K, D] keys of other images, of unit length.
        temperature: Divides the cosine similarity, > 0.
        excluded: [B, K] bool; whether a negative is of the query's own image after all.
    """
    queries, keys = (functional.normalize(at_least_float32(x), dim=1) for x in (queries, keys))
    positive = (queries * keys).sum(dim=1, keepdim=True)
    negative = (queries @ negatives.to(queries.dtype).T).masked_fill(excluded, float("-inf"))
    logits = torch.cat([positive, negative], dim=1) / temperature
    first = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    return functional.cross_entropy(logits, first)
