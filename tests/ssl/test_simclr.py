"""SimCLR embeds images, one row an image."""

import pytest
import torch

from cxrssl.models.backbone import encoder, num_features
from cxrssl.ssl.heads import projection_head
from cxrssl.ssl.losses.nt_xent import nt_xent
from cxrssl.ssl.simclr import SimCLR


def simclr(architecture: str, num_layers: int = 2) -> SimCLR:
    torch.manual_seed(0)  # any weights will do
    body = encoder(architecture)
    features = num_features(body)
    head = projection_head(
        features, hidden=32, num_outputs=16, num_layers=num_layers, batch_norm=False
    )
    return SimCLR(body, head, temperature=0.5).eval()


@pytest.mark.parametrize("architecture", ["test_resnet", "resnet18", "convnext_atto"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 64)])
def test_there_is_a_row_an_image(architecture: str, height: int, width: int) -> None:
    model, views = simclr(architecture), torch.randn(5, 2, 3, height, width)
    assert model.encoder(views[:, 0]).shape == (5, num_features(model.encoder))
    first, second = model({"views": views})
    assert first.shape == second.shape == (5, 16)
    assert torch.allclose(second, model.projector(model.encoder(views[:, 1])), atol=1e-6)


def test_a_row_depends_on_its_image_alone_and_permuting_images_permutes_rows() -> None:
    model, views = simclr("test_resnet"), torch.randn(6, 2, 3, 64, 64)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    rows_before = model({"views": views})[0]
    assert torch.allclose(model({"views": views[order]})[0], rows_before[order], atol=1e-6)
    changed = views.clone()
    changed[2] += 1
    rows = (model({"views": changed})[0] - rows_before).abs().amax(dim=1) > 1e-6
    assert rows.tolist() == [False, False, True, False, False, False]


def test_films_of_one_patient_are_no_negatives() -> None:
    model, outputs = simclr("test_resnet"), tuple(torch.randn(2, 4, 16))
    for images in (torch.tensor([3, 5, 3, 6]), torch.arange(4)):
        (loss,) = model.losses(outputs, {"image": images}).values()
        assert torch.equal(loss, nt_xent(*outputs, temperature=0.5, images=images))
    assert float(loss) > float(model.losses(outputs, {"image": torch.zeros(4)})["loss"])
