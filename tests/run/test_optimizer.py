"""Fused SGD under fp16's loss scaler: a first step that is skipped leaves nothing behind."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from cxrssl.run.optimizer import build_optimizer


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 64)


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) for shape in ((64, 64), (64,))]


def give(model: nn.Module, values: list[Tensor]) -> None:
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.grad = value.clone()


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_a_skipped_first_step_leaves_no_momentum(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dirty(values: Tensor, **options: object) -> Tensor:
        # Memory as it comes: what a freed tensor leaves, here the worst of it.
        return torch.full_like(values, torch.nan)

    monkeypatch.setattr(torch, "empty_like", dirty)
    model, scaler = layer(), torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizer = build_optimizer(model, name, 0.9, 0.0)  # type: ignore[arg-type]
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = [p.detach().clone() for p in model.parameters()]
    for step in range(2):
        scaler.scale(torch.ones(1))
        scale = scaler.get_scale()
        give(model, [scale * value for value in gradients(step)])
        if step == 0:
            model.weight.grad[0, 0] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        if step == 0:
            assert all(map(torch.equal, before, model.parameters()))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    if name == "sgd":
        for parameter, gradient in zip(model.parameters(), gradients(1), strict=True):
            assert torch.equal(optimizer.state[parameter]["momentum_buffer"], gradient)


def test_without_a_skipped_step_every_byte_is_torchs_own() -> None:
    ours, theirs = layer(), layer()
    optimizers = (
        build_optimizer(ours, "sgd", 0.9, 1e-4),
        SGD(theirs.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4, fused=True),
    )
    for step in range(5):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.1
            give(model, gradients(step))
            optimizer.step()
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert first.detach().numpy().tobytes() == second.detach().numpy().tobytes()
        states = [
            optimizer.state[p]["momentum_buffer"].numpy().tobytes()
            for optimizer, p in zip(optimizers, (first, second), strict=True)
        ]
        assert states[0] == states[1]


def test_sgd_without_momentum_keeps_none() -> None:
    assert not build_optimizer(layer(), "sgd", 0.0, 0.0).state
