"""DenseCL: matches by loops, its loss by the paper's formula and lightly's; weight 0 is MoCo v2."""

import math
from pathlib import Path

import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import DenseCLProjectionHead
from lightly.models.utils import select_most_similar
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.core.errors import RecipeError
from cxrssl.pretrain.start import build_pretext
from cxrssl.ssl.densecl import DenseCL, most_similar
from cxrssl.ssl.followers import Queue
from cxrssl.ssl.heads import dense_head
from cxrssl.ssl.moco import MoCo
from map_encoder import MapEncoder, apart
from support import pretrain_recipe

BATCH, CHANNELS, LENGTH, QUEUE, TEMPERATURE = 4, 6, 5, 8, 0.2
PLACES = 9


def densecl(dense_weight: float = 0.5) -> DenseCL:
    torch.manual_seed(0)  # the same weights each time
    return DenseCL(
        MapEncoder(CHANNELS),
        (
            nn.Linear(CHANNELS, LENGTH),
            dense_head(CHANNELS, hidden=7, num_outputs=LENGTH, batch_norm=False),
        ),
        (Queue(QUEUE, LENGTH), Queue(QUEUE, LENGTH)),
        temperature=TEMPERATURE,
        momentum=0.9,
        dense_weight=dense_weight,
    ).train()


def batch(number: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    views = torch.randn(BATCH, 2, 3, 12, 12, generator=generator)
    return {"views": views, "image": torch.arange(BATCH) + BATCH * number}


def step(method: DenseCL | MoCo, number: int) -> dict[str, Tensor]:
    """Take a step on a batch; return the losses."""
    torch.manual_seed(7)  # the groups are a function of it
    losses = method.losses(method(batch(number)), batch(number))
    trained = [p for p in method.parameters() if p.requires_grad]
    torch.autograd.backward(list(losses.values()))
    torch.optim.SGD(trained, lr=0.1).step()
    method.after_step(0.5)
    return losses


def test_a_place_is_matched_with_the_most_similar_one_of_the_other_view() -> None:
    first, second = torch.randn(2, 3, CHANNELS, 2, 3, generator=torch.Generator().manual_seed(1))
    places = most_similar(first * 3, second * 5)
    assert places.shape == (3, 6)
    for image in range(3):
        for place in range(6):
            own = first[image, :, place // 3, place % 3]
            cosines = [
                float(functional.cosine_similarity(own, second[image, :, y, x], dim=0))
                for y in range(2)
                for x in range(3)
            ]
            assert int(places[image, place]) == max(range(6), key=cosines.__getitem__)
    assert len(set(places.flatten().tolist())) > 2


def test_matches_are_made_in_full_precision_where_half_of_it_could_not_tell() -> None:
    first = torch.ones(1, 2, 1, 1)
    second = torch.tensor([[[[1.0, 1.0]], [[1.02, 1.001]]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert int(most_similar(first, second)) == 1


def test_keys_are_those_of_lightlys_matching_and_its_head() -> None:
    method, images = densecl(), batch()
    apart(method.copy)
    torch.manual_seed(7)
    _, _, _, matched, means = method(images)
    peer = DenseCLProjectionHead(CHANNELS, 7, LENGTH)
    assert [(type(a), p.numel()) for a in peer.layers for p in a.parameters()] == [
        (nn.Linear, p.numel()) for p in method.dense_projector.parameters()
    ]
    torch.manual_seed(7)
    halves = torch.randperm(BATCH).chunk(2)
    values = method.encoder.forward_features(images["views"][:, 0])
    for half in halves:
        other = method.copy[0].forward_features(images["views"][half, 1])
        keys = method.copy[2](other).flatten(2).transpose(1, 2)
        maps = (m.flatten(2).transpose(1, 2) for m in (values[half], other))
        assert torch.allclose(matched[half], select_most_similar(*maps, keys), atol=1e-6)
        assert torch.allclose(means[half], keys.mean(dim=1), atol=1e-6)


def test_the_dense_loss_is_that_of_the_papers_formula() -> None:
    method = densecl(dense_weight=0.25)
    step(method, 0)
    method.dense_queue.images[2] = 5  # a key of the second image, from an earlier epoch
    images = batch(1)
    outputs = method(images)
    losses = method.losses(outputs, images)
    unit = [functional.normalize(rows.detach().double(), dim=-1) for rows in outputs]
    _, _, queries, keys, _ = unit
    terms = []
    for image in range(BATCH):
        for place in range(PLACES):
            query = queries[image, place]
            positive = math.exp(float(query @ keys[image, place]) / TEMPERATURE)
            negatives = [
                math.exp(float(query @ method.dense_queue.rows[row].double()) / TEMPERATURE)
                for row in range(QUEUE)
                if not (image == 1 and row == 2)
            ]
            terms.append(-math.log(positive / (positive + sum(negatives))))
    mean = sum(terms) / len(terms)
    assert float(losses["loss_dense"].detach()) == pytest.approx(0.25 * mean, rel=1e-5)
    queries, keys = outputs[:2]
    criterion = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(QUEUE, LENGTH))
    criterion.memory_bank.bank = method.queue.rows.clone()
    expected = 0.75 * float(criterion(queries, keys).detach())
    assert float(losses["loss_global"].detach()) == pytest.approx(expected, rel=1e-5)


def test_with_a_dense_weight_of_0_it_is_moco() -> None:
    method = densecl(dense_weight=0.0)
    torch.manual_seed(0)
    peer = MoCo(
        MapEncoder(CHANNELS),
        nn.Linear(CHANNELS, LENGTH),
        Queue(QUEUE, LENGTH),
        temperature=TEMPERATURE,
        momentum=0.9,
    ).train()
    peer.queue.rows.copy_(method.queue.rows)
    for number in range(3):
        losses, (expected,) = step(method, number), step(peer, number).values()
        assert torch.equal(losses["loss_global"], expected)
        assert float(losses["loss_dense"].detach()) == 0
        parameters = dict(method.named_parameters())
        for name, parameter in peer.named_parameters():
            if parameter.requires_grad:
                assert torch.equal(parameters[name].grad, parameter.grad), name  # of all steps
    state = method.state_dict()
    assert all(torch.equal(state[name], value) for name, value in peer.state_dict().items())


def test_keys_get_no_gradient_and_enter_both_queues() -> None:
    method, images = densecl(), batch()
    outputs = method(images)
    assert [rows.requires_grad for rows in outputs] == [True, False, True, False, False]
    keys = outputs[1], outputs[3], outputs[4]
    losses = method.losses(
        (outputs[0], keys[0].requires_grad_(), outputs[2], *(k.requires_grad_() for k in keys[1:])),
        images,
    )
    torch.autograd.backward(list(losses.values()))
    assert all(rows.grad is None for rows in keys)
    assert not any(parameter.grad is not None for parameter in method.copy.parameters())
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    method.after_step(0.5)
    for queue, rows in ((method.queue, keys[0]), (method.dense_queue, keys[2])):
        assert torch.allclose(queue.rows[:BATCH], functional.normalize(rows, dim=1))
        assert queue.images.tolist() == [0, 1, 2, 3, -1, -1, -1, -1]


def test_chance_is_the_loss_of_equal_rows() -> None:
    method = densecl()
    for queue in (method.queue, method.dense_queue):
        queue.rows.fill_(1 / math.sqrt(LENGTH))
    rows, places = torch.ones(BATCH, LENGTH), torch.ones(BATCH, PLACES, LENGTH)
    losses = method.losses((rows, rows, places, places, rows), batch())
    assert float(sum(losses.values())) == pytest.approx(method.chance_loss(BATCH), abs=1e-6)


@pytest.mark.parametrize(
    ("size_px", "backbone", "message"),
    [
        (64, "test_resnet", r"views\.size_px is 64: .* 2 x 2, .* at least 3 x 3\. .* least 96\."),
        (33, "test_resnet", r"33: the last map of body\.backbone test_resnet is then 2 x 2"),
        (240, "crossvit_9_240", r"none that it can use: its last map is none of \[B, C, h, w\]"),
        (96, "coat_lite_tiny", "none that it can use: its last map is .* no square grid"),
    ],
)
def test_a_map_of_few_places_or_none_is_refused(
    size_px: int, backbone: str, message: str, store_folder: Path
) -> None:
    changes = f"views.size_px={size_px}", f"body.backbone={backbone}"
    recipe = pretrain_recipe(store_folder, *changes, name="densecl_smoke")
    with pytest.raises(RecipeError, match=message):
        build_pretext(recipe)
