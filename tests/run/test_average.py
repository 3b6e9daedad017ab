"""The average of weights, against its closed form and timm's."""

import copy

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from cxrssl.run.average import average_of, move_average


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 2))


def change(model: nn.Module, step: int) -> None:
    torch.manual_seed(step + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        model[1].running_mean.add_(1)  # type: ignore[index]


def test_it_follows_as_timms_does_at_the_full_decay() -> None:
    model = network()
    average, reference = average_of(model), ModelEmaV3(model, decay=0.9, foreach=False)
    for step in range(200, 206):
        change(model, step)
        move_average(average, model, decay=0.9, steps_done=step)
        reference.update(model)
    for name, parameter in average.named_parameters():
        expected = dict(reference.module.named_parameters())[name]
        assert torch.allclose(parameter, expected, atol=1e-6), name


def test_early_steps_count_more_and_buffers_are_the_networks() -> None:
    model = network()
    average = average_of(model)
    expected = copy.deepcopy([p.detach() for p in model.parameters()])
    for step in range(1, 6):
        change(model, step)
        move_average(average, model, decay=0.999, steps_done=step)
        share = (1 + step) / (10 + step)
        expected = [
            share * slow + (1 - share) * fast.detach()
            for slow, fast in zip(expected, model.parameters(), strict=True)
        ]
    for parameter, value in zip(average.parameters(), expected, strict=True):
        assert torch.allclose(parameter, value, atol=1e-6)
    assert torch.equal(average[1].running_mean, model[1].running_mean)  # type: ignore[index]


def test_no_gradient_reaches_it_and_it_is_in_use_mode() -> None:
    average = average_of(network().train())
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_what_never_changes_stays_bit_for_bit(decay: float) -> None:
    model = network()
    average = average_of(model)
    for step in range(1, 20):
        move_average(average, model, decay=decay, steps_done=step)
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        assert torch.equal(slow, fast)
