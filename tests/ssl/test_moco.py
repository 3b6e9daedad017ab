"""MoCo: its steps are algorithm 1 with lightly's parts, and its queue is filled by hand."""

import copy
import math
from pathlib import Path

import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.utils import update_momentum
from torch import Tensor, nn
from torch.nn import functional

from cxrssl.core.errors import DataError, RecipeError
from cxrssl.data.store import Store
from cxrssl.pretrain.pool import pool_images
from cxrssl.ssl.followers import Queue
from cxrssl.ssl.moco import MoCo
from support import pretrain_recipe

BATCH, LENGTH, QUEUE = 4, 5, 8


def moco(momentum: float = 0.9) -> MoCo:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU())
    queue = Queue(QUEUE, LENGTH)
    method = MoCo(encoder, nn.Linear(8, LENGTH), queue, temperature=0.2, momentum=momentum)
    return method.train()


def batch(number: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    views = torch.randn(BATCH, 2, 3, 4, 4, generator=generator)
    return {"views": views, "image": torch.arange(BATCH) + BATCH * number}


def step(method: MoCo, optimizer: torch.optim.Optimizer, images: dict[str, Tensor]) -> float:
    (loss,) = method.losses(method(images), images).values()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    method.after_step(0.5)
    return float(loss.detach())


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
        teacher.eval()
        loss = criterion(student(images["views"][:, 0]), teacher(images["views"][:, 1]))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        update_momentum(student, teacher, m=0.9)
        for slow, fast in zip(teacher.buffers(), student.buffers(), strict=True):
            slow.copy_(fast)
        assert step(method, ours, images) == pytest.approx(float(loss.detach()), rel=1e-5)
    for mine, other in zip(method.copy.parameters(), teacher.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-6)
    assert torch.allclose(method.queue.rows, criterion.memory_bank.bank, rtol=0, atol=1e-6)


def test_the_queue_holds_the_keys_of_the_last_batches_in_their_places() -> None:
    method = moco()
    optimizer = torch.optim.SGD(method.encoder.parameters(), lr=0.1)
    keys = []
    for number in range(3):
        with torch.no_grad():
            key = method.copy(batch(number)["views"][:, 1])
        keys.append(functional.normalize(key, dim=1))
        step(method, optimizer, batch(number))
    assert torch.allclose(method.queue.rows, torch.cat([keys[2], keys[1]]))
    assert method.queue.images.tolist() == [8, 9, 10, 11, 4, 5, 6, 7]
    assert int(method.queue.place) == 4


def test_a_key_gets_no_gradient_and_bears_no_mark_of_its_batch() -> None:
    method = moco()
    queries, keys = method(batch(0))
    assert queries.requires_grad
    assert not keys.requires_grad
    (loss,) = method.losses((queries, keys.requires_grad_()), batch(0)).values()
    loss.backward()
    assert keys.grad is None
    assert not any(parameter.grad is not None for parameter in method.copy.parameters())
    alone = {name: part[:2] for name, part in batch(0).items()}
    assert torch.allclose(method(alone)[1], keys[:2], atol=1e-6)  # whatever else is in the batch
    assert not torch.allclose(method(alone)[0], queries[:2], atol=1e-3)  # unlike a query


def test_an_earlier_key_of_the_querys_image_is_no_negative() -> None:
    method = moco()
    optimizer = torch.optim.SGD(method.encoder.parameters(), lr=0.0)
    step(method, optimizer, batch(0))
    images = batch(0)
    with_own = method.losses(method(images), images | {"image": torch.arange(4) + 100})["loss"]
    without = method.losses(method(images), images)["loss"]
    assert float(without.detach()) < float(with_own.detach())


def test_chance_is_the_loss_of_equal_rows() -> None:
    method = moco()
    method.queue.rows.fill_(1 / math.sqrt(LENGTH))
    same, images = torch.ones(BATCH, LENGTH), batch(0)
    loss = float(method.losses((same, same), images)["loss"].detach())
    assert loss == pytest.approx(method.chance_loss(BATCH), abs=1e-6)


def test_a_queue_fits_batches_and_the_pool(store: Store, store_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"18, no multiple of batch_size 4: .* Set it to 16"):
        pretrain_recipe(store_folder, "method.queue_images=18", name="moco_smoke")
    large = pretrain_recipe(store_folder, "method.queue_images=400", name="moco_smoke")
    with pytest.raises(DataError, match=r"pool holds \d+ images, and method.queue_images is 400"):
        pool_images(store, large)
