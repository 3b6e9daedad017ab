"""Quality of a representation: alignment, uniformity, rank, k-NN consistency, a linear probe.

Shapes: N images, F features of the encoder, D a vector's length, K findings.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrssl.metrics.logistic import fit_logistic

NEIGHBOURS = 5
PROBE_CHANCE = 0.5
"""AUROC of scores that know nothing."""
_PROBE_WEIGHT_DECAY = 1.0
_PROBE_GRADIENT = 1e-4
_PROBE_LEAST = 3
"""Images with a finding, and images without, that a half must have for the finding to count."""
# The same features for all images come to 0; those of a random ResNet to -0.03, of a trained one to
# -0.1 and less, for they are not negative and so never far apart.
_COLLAPSED_UNIFORMITY = -0.01
_COLLAPSED_RANK = 1.5


@dataclass(frozen=True)
class Labels:
    """What is known of a sample, for numbers in a log alone.

    Attributes:
        findings: [N, K] whether an image has a finding.
        in_first: [N] whether an image is in the first of the two halves of the probe; those of one
            patient are in the same half.
    """

    findings: NDArray[np.bool_]
    in_first: NDArray[np.bool_]


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
        probe_auroc: AUROC of a linear probe, the mean over findings, in [0, 1], .5 by chance; None
            where no finding counts.
        probe_findings: Findings that count for it: enough images of the sample with and without.
    """

    alignment: float
    uniformity: float
    rankme: float
    knn_findings: float | None
    knn_chance: float | None
    probe_auroc: float | None
    probe_findings: int

    def as_json(self) -> dict[str, float | None]:
        """Return the values by name."""
        return asdict(self)

    @property
    def collapse(self) -> str | None:
        """Return what has collapsed, or None."""
        if self.uniformity <= _COLLAPSED_UNIFORMITY and self.rankme >= _COLLAPSED_RANK:
            return None
        return (
            f"the representation has collapsed: uniformity {self.uniformity:.3f} (0 is one point), "
            f"RankMe {self.rankme:.1f} (1 is one direction)"
        )


def health_of(features: Tensor, first: Tensor, second: Tensor, labels: Labels | None) -> Health:
    """Measure a representation.

    Args:
        features: [N, F] of the encoder, of images as they are.
        first: [N, F] of one random view of each image, any scale.
        second: [N, F] of another.
        labels: Findings of the images, None where they are not known.
    """
    knn, chance, auroc, counted = None, None, None, 0
    if labels is not None:
        knn, chance = knn_consistency(features, labels.findings)
        auroc, counted = linear_probe(features, labels)
    spread = (uniformity(first) + uniformity(second)) / 2
    return Health(alignment(first, second), spread, rankme(features), knn, chance, auroc, counted)


def spread(rows: Tensor) -> Tensor:
    """Return how far the directions of rows [R, D], R >= 2, differ: 0 if equal, 1 if isotropic.

    That is the deviation of each number of rows of unit length, averaged, times sqrt(D).

    Source: SimSiam, arXiv 2011.10566, section 4.1.
    """
    unit = functional.normalize(rows.float(), dim=1)
    deviation: Tensor = unit.std(dim=0).mean()
    return deviation * math.sqrt(rows.shape[1])


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


def linear_probe(features: Tensor, labels: Labels) -> tuple[float | None, int]:
    """Return how well findings can be read off features [N, F] linearly, and how many count.

    Each finding has a logistic regression of its own (`metrics.logistic`, weight decay 1), fitted
    on one half of the images and scored by AUROC on the other, then the other way round. A finding
    counts if each half has 3 images with it and 3 without.

    Source: linear classifier probes, arXiv 1610.01644.

    Returns:
        Mean over the findings that count and both ways, None where none does; their number.
    """
    halves = np.flatnonzero(labels.in_first), np.flatnonzero(~labels.in_first)
    fewest = [_fewest_of_a_kind(labels.findings[half]) for half in halves]
    counted = torch.from_numpy(labels.findings[:, np.minimum(*fewest) >= _PROBE_LEAST])
    if not counted.shape[1]:
        return None, 0
    from torchmetrics.functional.classification import binary_auroc

    aurocs = []
    for seen, unseen in (halves, halves[::-1]):
        fit = fit_logistic(
            features[seen],
            counted[seen],
            _PROBE_WEIGHT_DECAY,
            end_gradient=_PROBE_GRADIENT,
        )
        scores = fit.logits(features[unseen]).sigmoid()
        pairs = zip(scores.T, counted[unseen].long().T, strict=True)
        aurocs += [float(binary_auroc(p, has_finding)) for p, has_finding in pairs]
    return sum(aurocs) / len(aurocs), counted.shape[1]


def _fewest_of_a_kind(findings: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return [K] the images of [N, K] with a finding, or without it, whichever are fewer."""
    with_finding = findings.sum(axis=0, dtype=np.int64)
    fewest: NDArray[np.int64] = np.minimum(with_finding, len(findings) - with_finding)
    return fewest
