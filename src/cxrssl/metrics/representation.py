"""Quality of a representation: alignment, uniformity, rank and k-NN consistency.

Shapes: N images, F features of the encoder, D a vector's length, K findings.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = 5
# The same features for all images come to 0; those of a random ResNet to -0.03, of a trained one to
# -0.1 and less, for they are not negative and so never far apart.
_COLLAPSED_UNIFORMITY = -0.01
_COLLAPSED_RANK = 1.5


@dataclass(frozen=True)
class Health:
    """The state of a representation on a fixed sample of images.

    Attributes:
        alignment: Mean squared distance of the features of two views of an image, on the unit
            sphere, 0..4; less is better aligned.
        uniformity: Log of the mean Gaussian potential of two images' features, <= 0; less is
            better spread.
        rankme: Effective rank of the features, 1..min(N, F).
        knn_findings: Fraction of an image's nearest neighbours with a finding in common, over
            images that have findings; None where there are no labels.
        knn_chance: The same for neighbours picked at random.
    """

    alignment: float
    uniformity: float
    rankme: float
    knn_findings: float | None
    knn_chance: float | None

    def as_json(self) -> dict[str, float | None]:
        """Return the values by name."""
        return asdict(self)

    @property
    def collapse(self) -> str | None:
        """Return what has collapsed and what to change, or None."""
        if self.uniformity <= _COLLAPSED_UNIFORMITY and self.rankme >= _COLLAPSED_RANK:
            return None
        return (
            f"the representation has collapsed: uniformity {self.uniformity:.3f} (0 is one point), "
            f"RankMe {self.rankme:.1f} (1 is one direction). Lower optim.peak_lr or lengthen "
            "optim.warmup_steps; if it stays, raise batch_size or the method's temperature."
        )


def health_of(
    features: Tensor, first: Tensor, second: Tensor, findings: NDArray[np.bool_] | None
) -> Health:
    """Measure a representation.

    Args:
        features: [N, F] of the encoder, of images as they are.
        first: [N, F] of one random view of each image, any scale.
        second: [N, F] of another.
        findings: [N, K] whether an image has a finding, or None.
    """
    knn, chance = (None, None) if findings is None else knn_consistency(features, findings)
    spread = (uniformity(first) + uniformity(second)) / 2
    return Health(alignment(first, second), spread, rankme(features), knn, chance)


def alignment(first: Tensor, second: Tensor) -> float:
    """Return the mean squared distance of positive pairs [N, D] on the unit sphere.

    Source: arXiv 2005.10242, equation 1 with alpha = 2.
    """
    distance = functional.normalize(first, dim=1) - functional.normalize(second, dim=1)
    return float(distance.square().sum(dim=1).mean())


def uniformity(embeddings: Tensor) -> float:
    """Return log E exp(-2 d^2) over all pairs of embeddings [N, D] on the unit sphere.

    Source: arXiv 2005.10242, equation 2 with t = 2.
    """
    distances = torch.pdist(functional.normalize(embeddings.double(), dim=1))
    return float(distances.square().mul(-2).exp().mean().log())


def rankme(features: Tensor) -> float:
    """Return exp of the entropy of the singular values of features [N, F].

    Source: RankMe, arXiv 2210.02885, equations 1 and 2.
    """
    values = torch.linalg.svdvals(features.double())
    fractions = values / values.sum() + 1e-7
    return math.exp(float(-(fractions * fractions.log()).sum()))


def knn_consistency(
    features: Tensor, findings: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Return how often an image's nearest neighbours share a finding with it, and chance.

    Args:
        features: [N, F]; nearest by cosine.
        findings: [N, K] whether an image has a finding.

    Returns:
        Means over the images with findings, or None for both if fewer than two have any.
    """
    with_findings = np.flatnonzero(findings.any(axis=1))
    if len(with_findings) < 2:
        return None, None
    # It imports all of its metrics, which takes two seconds: only where there are findings.
    from torchmetrics.retrieval import RetrievalPrecision

    counts = findings.astype(np.int64)
    share_finding = (counts @ counts.T > 0) & ~np.eye(len(findings), dtype=bool)  # [N, N]
    unit = functional.normalize(features.double(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)[with_findings]
    # Ranks instead of likenesses, because torchmetrics rounds those to float32.
    ranks = similarity.argsort(dim=1).argsort(dim=1).float()
    precision = RetrievalPrecision(
        empty_target_action="neg", top_k=min(NEIGHBOURS, len(findings) - 1)
    )
    queries = torch.arange(len(with_findings)).repeat_interleave(len(findings))
    hits = precision(
        ranks.flatten(), torch.from_numpy(share_finding[with_findings]).flatten(), queries
    )
    return float(hits), float(share_finding[with_findings].sum(axis=1).mean() / (len(findings) - 1))
