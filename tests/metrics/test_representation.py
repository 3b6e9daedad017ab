"""Health of a representation: formulas by hand, limits that are known, collapse that is seen."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cxrssl.metrics.representation import (
    Health,
    Labels,
    alignment,
    health_of,
    knn_consistency,
    linear_probe,
    rankme,
    spread,
    uniformity,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_alignment_is_the_mean_squared_distance_on_the_sphere() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[0.0, 5.0], [0.0, 3.0]])
    assert alignment(first, second) == pytest.approx((2 + 0) / 2)


def test_spread_is_the_formula_and_0_for_one_direction() -> None:
    rows = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)) + 0.5
    unit = [[float(x) / math.hypot(*map(float, row)) for x in row] for row in rows]
    columns = [np.array([row[place] for row in unit]) for place in range(7)]
    expected = math.sqrt(7) * float(np.mean([column.std(ddof=1) for column in columns]))
    assert float(spread(rows)) == pytest.approx(expected, abs=1e-6)
    lengths = torch.rand(40, 1, generator=torch.Generator().manual_seed(1)) + 0.5
    assert float(spread(rows[:1] * lengths)) == pytest.approx(0, abs=1e-6)
    isotropic = torch.randn(4000, 64, generator=torch.Generator().manual_seed(2))
    assert float(spread(isotropic)) == pytest.approx(1, abs=0.02)


def test_uniformity_is_the_formula_over_all_pairs() -> None:
    points = normal(7, 4)
    unit = points / points.norm(dim=1, keepdim=True)
    potentials = [
        math.exp(-2 * float((a - b).square().sum())) for a, b in itertools.combinations(unit, 2)
    ]
    assert uniformity(points) == pytest.approx(math.log(sum(potentials) / len(potentials)))


def test_spread_points_are_more_uniform_than_a_cluster_and_one_point_is_zero() -> None:
    spread, cluster = uniformity(normal(200, 64)), uniformity(normal(200, 64) + 3)
    assert spread < -3
    assert spread < cluster < 0
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_rankme_of_equal_singular_values_is_their_number(rank: int) -> None:
    basis = torch.linalg.qr(normal(64, 64)).Q[:, :rank]
    assert rankme(basis) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_exp_of_the_entropy_of_singular_values() -> None:
    features = torch.diag(torch.tensor([3.0, 1.0]))
    fractions = (0.75, 0.25)
    expected = math.exp(-sum(fraction * math.log(fraction) for fraction in fractions))
    assert rankme(features) == pytest.approx(expected, rel=1e-5)
    assert rankme(100 * features) == pytest.approx(expected, rel=1e-5)


def test_neighbours_that_share_findings_are_told_from_chance() -> None:
    kinds = np.arange(40) % 2
    findings = np.eye(2, dtype=bool)[kinds]
    clusters = (
        torch.tensor([[1.0, 0.0], [0.0, 1.0]])[torch.from_numpy(kinds)] + normal(40, 2) * 0.01
    )
    consistency, chance = knn_consistency(clusters, findings)
    assert consistency == 1.0
    assert chance == pytest.approx(19 / 39)
    mixed, _ = knn_consistency(normal(40, 8), findings)
    assert 0.3 < mixed < 0.7


def test_normal_images_ask_for_no_neighbours_and_without_findings_there_is_no_answer() -> None:
    findings = np.zeros((10, 3), dtype=bool)
    assert knn_consistency(normal(10, 4), findings) == (None, None)
    findings[[0, 1], 2] = True
    _, chance = knn_consistency(normal(10, 4), findings)
    assert chance == pytest.approx(1 / 9)


def test_a_healthy_representation_is_not_called_collapsed() -> None:
    health = health_of(normal(50, 32), normal(50, 16), normal(50, 16, seed=1), None)
    assert health.collapse is None
    assert health.knn_findings is None


@pytest.mark.parametrize(
    ("features", "embeddings"),
    [(normal(50, 32), torch.ones(50, 16)), (torch.ones(50, 32), normal(50, 16))],
)
def test_a_collapse_is_named(features: torch.Tensor, embeddings: torch.Tensor) -> None:
    health = health_of(features, embeddings, embeddings, None)
    assert "has collapsed" in str(health.collapse)
    assert f"RankMe {health.rankme:.1f}" in str(health.collapse)


def test_health_is_plain_numbers() -> None:
    assert Health(1.0, -2.0, 3.0, None, None, None, 0).as_json() == {
        "alignment": 1.0,
        "uniformity": -2.0,
        "rankme": 3.0,
        "knn_findings": None,
        "knn_chance": None,
        "probe_auroc": None,
        "probe_findings": 0,
    }


def auroc_by_pairs(scores: torch.Tensor, has_finding: np.ndarray) -> float:
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[has_finding].tolist()
        for b in scores[~has_finding].tolist()
    ]
    return sum(pairs) / len(pairs)


def test_a_probe_is_the_mean_auroc_of_ridge_logistic_regressions_on_the_other_half() -> None:
    features, drawn = normal(60, 9), np.random.default_rng(0)
    findings = drawn.random((60, 4)) < [0.5, 0.3, 0.02, 1.0]  # one is too rare, one has no contrast
    findings[:, 0] |= (features[:, 0] > 1).numpy()
    in_first = drawn.permutation(60) < 30
    expected = []
    for finding in findings.T[:2]:
        for seen in (in_first, ~in_first):
            inputs = features[seen].double().numpy()
            mean, std = inputs.mean(0), inputs.std(0)
            inputs, sign = (inputs - mean) / std, np.where(finding[seen], 1, -1)

            def loss(w: np.ndarray, inputs: np.ndarray = inputs, sign: np.ndarray = sign) -> float:
                nll = np.logaddexp(0, -sign * (inputs @ w[:-1] + w[-1])).mean()
                return float(nll + (w[:-1] ** 2).sum() / 2)

            weights = minimize(loss, np.zeros(10), tol=1e-10).x
            scores = torch.from_numpy(
                (features[~seen].double().numpy() - mean) / std @ weights[:-1]
            )
            expected.append(auroc_by_pairs(scores, finding[~seen]))
    auroc, counted = linear_probe(features, Labels(findings, in_first))
    assert counted == 2
    assert auroc == pytest.approx(np.mean(expected), abs=1e-6)
    assert len(set(expected)) > 2


def test_a_probe_reads_what_is_there_and_nothing_where_nothing_is() -> None:
    findings = (np.arange(200) % 2 == 0)[:, None]
    labels = Labels(findings, np.arange(200) < 100)
    known, _ = linear_probe(normal(200, 16) + 5 * torch.from_numpy(findings), labels)
    unknown, _ = linear_probe(normal(200, 16), labels)
    assert known == 1.0
    assert 0.35 < unknown < 0.65
    assert linear_probe(normal(200, 16), Labels(~findings & findings, labels.in_first)) == (None, 0)
