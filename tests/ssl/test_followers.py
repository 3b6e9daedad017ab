"""A follower moves as the closed form says, and a queue keeps the last rows in their order."""

import pytest
import torch
from torch import Tensor, nn

from cxrssl.ssl.followers import Queue, follow, follower, in_groups, random_groups


def test_a_follower_of_one_that_stands_still_comes_nearer_by_the_closed_form() -> None:
    start, goal, momentum = nn.Linear(3, 2).double(), nn.Linear(3, 2).double(), 0.9
    slow = follower(start)
    assert not any(parameter.requires_grad for parameter in slow.parameters())
    for _ in range(7):
        follow(slow, goal, momentum=momentum)
    for now, first, last in zip(
        slow.parameters(), start.parameters(), goal.parameters(), strict=True
    ):
        assert torch.allclose(now, last + momentum**7 * (first - last), rtol=0, atol=1e-12)


def test_a_follower_is_a_copy_and_has_the_buffers_of_the_last_step() -> None:
    parts = nn.Linear(3, 4), nn.BatchNorm1d(4)
    slow = follower(*parts)
    nn.Sequential(*parts)(torch.randn(8, 3))
    assert float(slow[1].running_mean.abs().sum()) == 0
    follow(slow, *parts, momentum=1.0)
    assert torch.equal(slow[1].running_mean, parts[1].running_mean)
    assert int(slow[1].num_batches_tracked) == 1
    assert slow[0].weight.data_ptr() != parts[0].weight.data_ptr()
    assert torch.equal(slow[0].weight, parts[0].weight)


def test_a_queue_replaces_the_oldest_rows_first() -> None:
    queue = Queue(6, 2)
    assert torch.allclose(queue.rows.norm(dim=1), torch.ones(6))
    assert queue.images.tolist() == [-1] * 6
    batches = [torch.full((2, 2), float(number)) for number in range(5)]
    expected = [
        *([0, 1, -1, -1, -1, -1], [0, 1, 2, 3, -1, -1], [0, 1, 2, 3, 4, 5]),
        *([6, 7, 2, 3, 4, 5], [6, 7, 8, 9, 4, 5]),
    ]
    for number, (rows, images) in enumerate(zip(batches, expected, strict=True)):
        queue.put(rows, torch.tensor([2 * number, 2 * number + 1]))
        assert queue.images.tolist() == images
    assert queue.rows[:, 0].tolist() == [3.0, 3.0, 4.0, 4.0, 2.0, 2.0]


def test_images_are_embedded_in_two_random_groups_and_few_in_one() -> None:
    for num_images, sizes in ((2, [2]), (3, [3]), (4, [2, 2]), (7, [4, 3])):
        groups, seen = random_groups(num_images), []

        def embed(images: Tensor, seen: list[int] = seen) -> tuple[Tensor, ...]:
            seen.append(len(images))
            return images + 1, images * len(images)

        images = torch.arange(float(num_images))[:, None]
        more, times = in_groups(embed, images, groups)
        assert seen == sizes
        assert torch.equal(more, images + 1)
        expected = {int(row): len(group) for group in groups for row in group}
        assert times.flatten().tolist() == [row * expected[row] for row in range(num_images)]
        assert sorted(torch.cat(list(groups)).tolist()) == list(range(num_images))


def test_what_is_carried_on_is_in_the_state() -> None:
    queue = Queue(4, 2)
    queue.put(torch.ones(2, 2), torch.tensor([5, 6]))
    other = Queue(4, 2)
    other.load_state_dict(queue.state_dict())
    other.put(torch.zeros(2, 2), torch.tensor([7, 8]))
    assert other.images.tolist() == [5, 6, 7, 8]


def test_a_momentum_is_a_share() -> None:
    with pytest.raises(ValueError, match="decay"):
        follow(follower(nn.Linear(1, 1)), nn.Linear(1, 1), momentum=1.5)
