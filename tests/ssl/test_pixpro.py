"""PixPro: pairs, propagation and loss are those of explicit loops; its copy follows."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.ssl.byol import momentum_at
from cxrssl.ssl.heads import dense_head
from cxrssl.ssl.pixpro import PixPro, Propagation, pairs_of
from map_encoder import MapEncoder, apart

BATCH, CHANNELS, LENGTH, SIDE = 4, 6, 5, 3
PLACES = SIDE * SIDE
# Of each view left, top, right, bottom: near each other, mirrored, both mirrored, far apart.
BOXES = [
    [[10, 20, 90, 120], [30, 10, 120, 100]],
    [[10, 20, 90, 120], [120, 10, 30, 100]],
    [[95, 0, 5, 60], [100, 5, 0, 95]],
    [[0, 0, 40, 40], [100, 100, 150, 160]],
]


def pixpro() -> PixPro:
    torch.manual_seed(0)  # the same weights each time
    return PixPro(
        MapEncoder(CHANNELS),
        dense_head(CHANNELS, hidden=7, num_outputs=LENGTH, batch_norm=True),
        Propagation(LENGTH, sharpness=2.0),
        momentum=0.9,
        pair_distance=0.7,
    ).train()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(BATCH, 2, 3, 4 * SIDE, 4 * SIDE, generator=generator)
    return {"views": views, "places": torch.tensor(BOXES, dtype=torch.float32)}


def centre(box: list[int], place: int) -> tuple[float, float]:
    """Return x and y in the image of a place of a view."""
    left, top, right, bottom = box
    column, row = place % SIDE, place // SIDE
    x = left + (right - left) * (column + 0.5) / SIDE
    return x, top + (bottom - top) * (row + 0.5) / SIDE


def diagonal(box: list[int]) -> float:
    return math.hypot(box[2] - box[0], box[3] - box[1]) / SIDE


def pairs_by_loops(distance: float) -> set[tuple[int, int, int]]:
    pairs = set()
    for image, (first, second) in enumerate(BOXES):
        unit = max(diagonal(first), diagonal(second))
        for i in range(PLACES):
            for j in range(PLACES):
                if math.dist(centre(first, i), centre(second, j)) / unit < distance:
                    pairs.add((image, i, j))
    return pairs


@pytest.mark.parametrize("distance", [0.3, 0.7, 1.5])
def test_pairs_are_those_of_loops_in_mirrored_views_too(distance: float) -> None:
    found = pairs_of(batch()["places"], PLACES, distance)
    expected = pairs_by_loops(distance)
    assert {tuple(pair) for pair in found.nonzero().tolist()} == expected
    assert {image for image, _, _ in expected} == {0, 1, 2}
    plain, mirrored = ({pair[1:] for pair in expected if pair[0] == image} for image in (0, 1))
    assert plain != mirrored


def test_a_place_is_paired_with_itself_in_the_same_crop_mirrored() -> None:
    places = torch.tensor([[[10.0, 20.0, 40.0, 50.0], [40.0, 20.0, 10.0, 50.0]]])
    pairs = pairs_of(places, PLACES, 0.5).nonzero()[:, 1:].tolist()
    assert pairs == [[r * 3 + c, r * 3 + 2 - c] for r in range(3) for c in range(3)]


def test_propagation_is_that_of_loops() -> None:
    torch.manual_seed(0)
    propagation = Propagation(LENGTH, sharpness=2.0).double()
    embeddings = torch.randn(2, LENGTH, 2, 3, dtype=torch.float64)
    weight, bias = propagation.transform.weight[:, :, 0, 0], propagation.transform.bias
    found = propagation(embeddings)
    negative = 0
    for image in range(2):
        places = [embeddings[image, :, y, x] for y in range(2) for x in range(3)]
        for i, own in enumerate(places):
            smoothed = torch.zeros(LENGTH, dtype=torch.float64)
            for other in places:
                cosine = float(functional.cosine_similarity(own, other, dim=0))
                negative += cosine < 0
                value = weight @ other + bias
                smoothed += max(cosine, 0.0) ** 2 * value / value.norm()
            assert torch.allclose(found[image, i], smoothed)
    assert negative > 0


def test_the_loss_is_that_of_loops_and_no_pair_is_no_weight() -> None:
    method, images = pixpro(), batch()
    outputs = method(images)
    (loss,) = method.losses(outputs, images).values()
    first, second, first_target, second_target = (
        functional.normalize(rows.detach().double(), dim=2).numpy() for rows in outputs[:4]
    )
    pairs, of_images = pairs_by_loops(0.7), []
    for image in range(BATCH):
        terms = [
            -float(np.dot(first[image, i], second_target[image, j]))
            - float(np.dot(second[image, j], first_target[image, i]))
            for place_image, i, j in pairs
            if place_image == image
        ]
        of_images.append(sum(terms) / len(terms) if terms else 0.0)
    assert of_images[3] == 0
    assert float(loss.detach()) == pytest.approx(sum(of_images) / BATCH, abs=1e-6)
    gradient = torch.autograd.grad(loss, outputs[0])[0]
    assert gradient[:3].abs().sum(dim=(1, 2)).min() > 0
    assert not gradient[3].any()


def test_targets_are_the_copys_maps_without_propagation_and_get_no_gradient() -> None:
    method, images = pixpro(), batch()
    apart(method.copy)
    peer = copy.deepcopy(method)
    outputs = method(images)
    views = torch.cat([images["views"][:, 0], images["views"][:, 1]])
    values = peer.copy[1](peer.copy[0].forward_features(views))
    expected = values.flatten(2).transpose(1, 2).chunk(2)
    assert all(torch.equal(a, b) for a, b in zip(outputs[2:4], expected, strict=True))
    assert [rows.requires_grad for rows in outputs] == [True, True, False, False, True, True]
    targets = [rows.requires_grad_() for rows in outputs[2:4]]
    (loss,) = method.losses((*outputs[:2], *targets, *outputs[4:]), images).values()
    loss.backward()
    assert all(rows.grad is None for rows in targets)
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_the_copy_follows_the_encoder_and_the_projector() -> None:
    method = pixpro()
    start = {name: value.clone() for name, value in method.copy.named_parameters()}
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    method.after_step(0.25)
    kept = momentum_at(0.9, 0.25)
    followed = nn.Sequential(method.encoder, method.projector)
    for name, parameter in followed.named_parameters():
        expected = kept * start[name] + (1 - kept) * parameter
        assert torch.allclose(dict(method.copy.named_parameters())[name], expected, atol=1e-6)
    assert 0.9 < kept < 1


def test_what_lies_behind_the_map_has_a_gradient_of_0() -> None:
    method, images = pixpro(), batch()
    head = nn.Linear(CHANNELS, CHANNELS)
    mean = method.encoder.forward_head
    method.encoder.add_module("head", head)
    method.encoder.forward_head = lambda values: head(mean(values))
    (loss,) = method.losses(method(images), images).values()
    loss.backward()
    assert head.weight.grad is not None
    assert not head.weight.grad.any()
