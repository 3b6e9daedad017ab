"""MoCo: its steps are algorithm 1 with lightly's parts, and its queue is filled by hand.

C2L's mixing is compared with loops over images, and with MoCo where nothing is mixed.
"""

import copy
import math
import re
from pathlib import Path

import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from cxrssl.core.errors import DataError, RecipeError
from cxrssl.data.store import Store
from cxrssl.pretrain.pool import pool_images
from cxrssl.ssl.followers import Queue
from cxrssl.ssl.moco import Mix, MoCo, random_mix
from support import pretrain_recipe

BATCH, LENGTH, QUEUE = 4, 5, 8


def moco(momentum: float = 0.9, mix_alpha: float | None = None) -> MoCo:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU())
    queue = Queue(QUEUE, LENGTH)
    method = MoCo(
        *(encoder, nn.Linear(8, LENGTH), queue),
        temperature=0.2,
        momentum=momentum,
        mix_alpha=mix_alpha,
    )
    return method.train()


def batch(number: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    views = torch.randn(BATCH, 2, 3, 4, 4, generator=generator)
    return {"views": views, "image": torch.arange(BATCH) + BATCH * number}


def step(method: MoCo, optimizer: torch.optim.Optimizer, images: dict[str, Tensor]) -> float:
    torch.manual_seed(7)  # the groups are a function of it
    (loss,) = method.losses(method(images), images).values()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    method.after_step(0.5)
    return float(loss.detach())


def in_groups(teacher: nn.Module, images: Tensor) -> Tensor:
    """Return what a teacher makes of images, each random half normalised by itself."""
    torch.manual_seed(7)
    order, keys = torch.randperm(BATCH).tolist(), {}
    for half in (order[: BATCH // 2], order[BATCH // 2 :]):
        keys |= dict(zip(half, teacher(images[half]), strict=True))
    return torch.stack([keys[index] for index in range(BATCH)])


def test_steps_are_those_of_algorithm_1_with_lightlys_loss_and_moving_average() -> None:
    method, peer = moco(), moco()
    student = nn.Sequential(peer.encoder, peer.projector)
    teacher = copy.deepcopy(student).requires_grad_(False)
    criterion = NTXentLoss(temperature=0.2, memory_bank_size=(QUEUE, LENGTH))
    criterion.memory_bank.bank = peer.queue.rows.clone()
    ours, theirs = (
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for model in (method, student)
    )
    for number in range(5):
        images = batch(number)
        views = images["views"]
        loss = criterion(student(views[:, 0]), in_groups(teacher, views[:, 1]))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        update_momentum(student, teacher, m=0.9)
        assert step(method, ours, images) == pytest.approx(float(loss.detach()), rel=1e-5)
    for mine, other in zip(method.copy.parameters(), teacher.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-6)
    # BatchNorm makes more of the last bits, by how much depends on the processor: 2e-6 was seen.
    assert torch.allclose(method.queue.rows, criterion.memory_bank.bank, rtol=0, atol=1e-5)


def test_a_key_gets_no_gradient() -> None:
    method = moco()
    queries, keys = method(batch(0))
    assert queries.requires_grad
    assert not keys.requires_grad
    (loss,) = method.losses((queries, keys.requires_grad_()), batch(0)).values()
    loss.backward()
    assert keys.grad is None
    assert not any(parameter.grad is not None for parameter in method.copy.parameters())


def test_an_earlier_key_of_the_querys_image_is_no_negative() -> None:
    method = moco()
    optimizer = torch.optim.SGD(method.encoder.parameters(), lr=0.0)
    step(method, optimizer, batch(0))
    images = batch(0)
    outputs = method(images)
    with_own = method.losses(outputs, images | {"image": torch.arange(4) + 100})["loss"]
    without = method.losses(outputs, images)["loss"]
    assert float(without.detach()) < float(with_own.detach())


def test_chance_is_the_loss_of_equal_rows() -> None:
    method = moco()
    method.queue.rows.fill_(1 / math.sqrt(LENGTH))
    equal_rows, images = torch.ones(BATCH, LENGTH), batch(0)
    loss = float(method.losses((equal_rows, equal_rows), images)["loss"].detach())
    assert loss == pytest.approx(method.chance_loss(BATCH), abs=1e-6)


def test_a_queue_fits_batches_and_the_pool(store: Store, store_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"18, no multiple of batch_size 4: .* Set it to 16"):
        pretrain_recipe(store_folder, "method.queue_images=18", name="moco_smoke")
    large = pretrain_recipe(store_folder, "method.queue_images=400", name="moco_smoke")
    held = "pool holds (?P<images>[0-9]+) images, and method.queue_images is 400: .* Set it to 20,"
    with pytest.raises(DataError, match=held) as caught:
        pool_images(store, large)
    images = re.search(held, str(caught.value))
    assert images is not None
    assert 20 <= int(images["images"]) < 24  # batches of 4
    pool_images(store, pretrain_recipe(store_folder, "method.queue_images=20", name="moco_smoke"))


def contrast(query: Tensor, key: Tensor, negatives: list[Tensor]) -> float:
    """Return InfoNCE of one query, by hand."""
    cosines = [float(torch.cosine_similarity(query, other, dim=0)) for other in (key, *negatives)]
    exponentials = [math.exp(cosine / 0.2) for cosine in cosines]
    return -math.log(exponentials[0] / sum(exponentials))


def test_mixed_images_and_mixed_keys_are_contrasted_as_loops_say() -> None:
    method = moco(mix_alpha=1.0)
    method.queue.images[:] = torch.tensor([0, 1, 2, 3, 70, 71, 72, 73])
    first, second = batch(0)["views"].unbind(1)
    torch.manual_seed(7)
    groups = torch.randperm(BATCH).chunk(2)
    mix = random_mix(BATCH, 1.0)
    share, order = float(mix.share), mix.order.tolist()
    assert 0.5 < share < 1
    assert order != list(range(BATCH))
    network = nn.Sequential(method.encoder, method.projector)

    def mixed(rows: Tensor) -> Tensor:
        pairs = zip(rows, (rows[index] for index in order), strict=True)
        return torch.stack([share * own + (1 - share) * other for own, other in pairs])

    def keys_of(images: Tensor) -> Tensor:
        keys = torch.empty(BATCH, LENGTH)
        for group in groups:
            keys[group] = method.copy(images[group])
        return keys

    with torch.no_grad():
        expected = {"single": 0.0, "homogeneous": 0.0, "heterogeneous": 0.0}
        terms = {
            "single": (network(first), keys_of(second)),
            "homogeneous": (network(mixed(first)), keys_of(mixed(second))),
            "heterogeneous": (network(mixed(first)), mixed(keys_of(second))),
        }
        for name, (queries, keys) in terms.items():
            for image in range(BATCH):
                own = {image} if name == "single" else {image, order[image]}
                queued = zip(method.queue.images.tolist(), method.queue.rows, strict=True)
                negatives = [row for number, row in queued if number not in own]
                expected[name] += contrast(queries[image], keys[image], negatives) / BATCH / 3
    torch.manual_seed(7)
    outputs = method(batch(0))
    losses = method.losses(outputs, batch(0))
    assert {name: float(loss.detach()) for name, loss in losses.items()} == pytest.approx(
        expected, rel=1e-5
    )
    method.after_step(0.5)
    assert method.queue.images[:BATCH].tolist() == [0, 1, 2, 3]  # single images alone
    keys = nn.functional.normalize(outputs[1], dim=1)
    assert torch.equal(method.queue.rows[:BATCH], keys)


def test_where_nothing_is_mixed_every_part_is_that_of_plain_moco(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, mixing = moco(), moco(mix_alpha=1.0)
    monkeypatch.setattr(
        "cxrssl.ssl.moco.random_mix",
        lambda num_images, _alpha: Mix(torch.tensor(1.0), torch.arange(num_images)),
    )
    torch.manual_seed(7)
    (loss,) = plain.losses(plain(batch(0)), batch(0)).values()
    torch.manual_seed(7)
    outputs = mixing(batch(0))
    parts = mixing.losses(outputs, batch(0)).values()
    assert len(parts) == 3
    assert all(torch.equal(part, loss / 3) for part in parts)
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[1], outputs[3])
    assert torch.equal(outputs[1], outputs[4])


def test_shares_and_partners_are_drawn_anew_and_the_image_itself_has_the_larger_share() -> None:
    torch.manual_seed(0)
    mixes = [random_mix(6, 1.0) for _ in range(400)]
    shares = torch.stack([mix.share for mix in mixes])
    assert 0.5 <= float(shares.min()) < 0.51
    assert 0.99 < float(shares.max()) <= 1
    assert float(shares.mean()) == pytest.approx(0.75, abs=0.03)  # uniform in [0.5, 1]
    assert all(sorted(mix.order.tolist()) == list(range(6)) for mix in mixes)
    assert {int(mix.order[0]) for mix in mixes} == set(range(6))


def test_mixing_says_its_own_name() -> None:
    assert (moco().title, moco(mix_alpha=1.0).title) == ("MoCo v2", "C2L")
