"""Statistics of BatchNorms are settled as torch settles them, without drawing at random."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from cxrssl.models.backbone import encoder
from cxrssl.models.batch_norm import batch_statistics, has_statistics, settle_statistics


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_settled_statistics_are_those_of_torch(name: str) -> None:
    model = encoder(name)
    batches = [torch.randn(5, 3, 64, 64) * 2 + 1, torch.randn(4, 3, 64, 64)]
    expected, settled = deepcopy(model), deepcopy(model)
    update_bn(batches, expected)
    settle_statistics(settled, [batch_statistics(settled, images) for images in batches])
    pairs = list(zip(expected.named_buffers(), settled.buffers(), strict=True))
    for (key, value), found in pairs:
        if not key.endswith("num_batches_tracked"):
            assert torch.allclose(found, value, rtol=1e-4, atol=1e-5), key
    assert len(pairs) > 20


def test_statistics_are_of_the_network_in_use_and_draw_nothing() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).train()
    images = torch.randn(4, 3, 8, 8)
    before = torch.get_rng_state()
    found = batch_statistics(model, images)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(found["1"][0], images.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(found["1"][1], images.var((0, 2, 3)), rtol=1e-5)
    assert not has_statistics(encoder("test_convnext"))
