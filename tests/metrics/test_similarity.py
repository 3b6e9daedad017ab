"""Linear CKA against the criterion written out over all quadruples, and what it must not move."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from cxrssl.metrics.similarity import cka, gram, hsic


def features(seed: int, num_images: int, num_features: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_images, num_features, generator=generator, dtype=torch.float64)


def turned(values: Tensor) -> Tensor:
    """Return features turned by a random orthogonal matrix, twice as long, and moved."""
    turn, _ = torch.linalg.qr(features(9, values.shape[1], values.shape[1]))
    return 2 * values @ turn + 3


def by_loops(k: Tensor, el: Tensor) -> float:
    """Return HSIC as the mean over all quadruples of different images of its definition.

    E[k(1,2) l(1,2)] + E[k(1,2)] E[l(3,4)] - 2 E[k(1,2) l(1,3)].
    """
    terms = [
        float(k[a, b] * el[a, b] + k[a, b] * el[c, d] - 2 * k[a, b] * el[a, c])
        for a, b, c, d in permutations(range(len(k)), 4)
    ]
    return math.fsum(terms) / len(terms)


@pytest.mark.parametrize("num_images", [4, 5, 7])
def test_the_criterion_is_the_mean_over_all_quadruples(num_images: int) -> None:
    first = features(0, num_images, 3)
    second = first[:, :2] + 0.5 * features(1, num_images, 2)
    k, el = first @ first.T, second @ second.T  # not centred: the criterion must not mind
    assert hsic(k, el) == pytest.approx(by_loops(k, el), rel=1e-9)
    expected = by_loops(k, el) / math.sqrt(by_loops(k, k) * by_loops(el, el))
    assert cka(gram(first), gram(second)) == pytest.approx(expected, rel=1e-9)
    assert expected < 0.999


def test_a_representation_is_like_itself_however_it_is_turned_scaled_and_moved() -> None:
    values = features(0, 64, 300)
    assert cka(gram(values), gram(values)) == pytest.approx(1.0, abs=1e-12)
    assert cka(gram(values), gram(turned(values))) == pytest.approx(1.0, abs=1e-9)
    stretched = values * torch.logspace(0, 2, 300, dtype=torch.float64)
    assert cka(gram(values), gram(stretched)) < 0.7


@pytest.mark.parametrize("num_features", [8, 64, 4096])
def test_unrelated_representations_are_near_zero_with_any_number_of_features(
    num_features: int,
) -> None:
    values = [
        cka(gram(features(2 * n, 64, num_features)), gram(features(2 * n + 1, 64, num_features)))
        for n in range(20)
    ]
    assert abs(sum(values) / 20) < 0.05
    assert max(map(abs, values)) < 0.2


def test_the_plain_one_would_call_noise_alike() -> None:
    # Why it is not used: 64 images, 4096 features.
    first, second = (gram(features(seed, 64, 4096)) for seed in (0, 1))
    plain = float((first * second).sum() / (first.norm() * second.norm()))
    assert plain > 0.9


def test_what_has_no_value_is_none_and_other_images_are_an_error() -> None:
    assert cka(gram(features(0, 3, 5)), gram(features(0, 3, 5))) is None
    constant = torch.ones(8, 5)
    assert cka(gram(constant), gram(features(0, 8, 5))) is None
    broken = features(0, 8, 5)
    broken[0, 0] = torch.nan
    assert cka(gram(broken), gram(features(0, 8, 5))) is None
    with pytest.raises(ValueError, match=r"of the same images, got shapes \(8, 8\) and \(9, 9\)"):
        cka(gram(features(0, 8, 5)), gram(features(0, 9, 5)))
