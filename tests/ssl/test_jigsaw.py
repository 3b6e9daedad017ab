"""Jigsaw sees each tile alone, at its place, and is told the order by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cxrssl.core.errors import RecipeError
from cxrssl.data.cuts.tiles import tile_orders
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.pretrain.pool import pool_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.ssl.jigsaw import Jigsaw, normalised_per_tile
from support import pretrain_recipe

NUM_ORDERS = 7


def jigsaw() -> Jigsaw:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    return Jigsaw(encoder, nn.Linear(45, NUM_ORDERS), num_orders=NUM_ORDERS).double()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randn(4, 9, 3, 4, 4, generator=generator, dtype=torch.float64)
    return {"tiles": tiles, "order": torch.tensor([3, 0, 6, 3])}


def test_scores_and_loss_are_those_of_loops_over_images_and_tiles() -> None:
    method, losses = jigsaw(), []
    (scores,) = method(batch())
    for row, (tiles, order) in enumerate(zip(*batch().values(), strict=True)):
        features = []
        for tile in tiles:
            levels = (tile - tile.mean()) / tile.std(correction=0)
            features.append(method.encoder(levels[None])[0])
        expected = method.classifier(torch.cat(features))
        assert torch.allclose(scores[row], expected, rtol=0, atol=1e-12)
        shares = [math.exp(float(score.detach())) for score in expected]
        losses.append(-math.log(shares[int(order)] / sum(shares)))
    (loss,) = method.losses((scores,), batch()).values()
    assert float(loss.detach()) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_a_tiles_brightness_and_contrast_say_nothing() -> None:
    tiles = batch()["tiles"][:, 0]
    assert torch.allclose(
        normalised_per_tile(3 * tiles + 5), normalised_per_tile(tiles), atol=1e-12
    )
    black = normalised_per_tile(torch.full((1, 3, 4, 4), -2.0))
    assert float(black.abs().max()) == 0


def test_equal_scores_have_the_loss_of_chance() -> None:
    method = jigsaw()
    (loss,) = method.losses((torch.zeros(4, NUM_ORDERS),), batch()).values()
    assert float(loss) == pytest.approx(method.chance_loss(4), abs=1e-6)


def test_what_a_run_is_given_can_be_put_together_again(store: Store, store_folder: Path) -> None:
    # Tiles are whole cells.
    changes = ("views.size_px=63", "method.tile_px=21", "views.noise_share=[0, 0]")
    recipe = pretrain_recipe(store_folder, *changes, name="jigsaw_smoke")
    images, _ = pool_images(store, recipe)
    item = images[Visit(0, 2)]
    order = tile_orders(recipe.method.num_orders)[int(item["order"])]
    tiles = item["tiles"][:, 0].float()
    straight = torch.empty_like(tiles)
    straight[torch.from_numpy(order)] = tiles
    rows = straight.view(3, 3, 21, 21).transpose(1, 2).reshape(63, 63)
    shuffled = tiles.view(3, 3, 21, 21).transpose(1, 2).reshape(63, 63)

    def seams(picture: Tensor) -> float:
        """Return how much grey levels jump where tiles meet."""
        jumps = [(picture[at - 1] - picture[at]).abs().mean() for at in (21, 42)]
        jumps += [(picture[:, at - 1] - picture[:, at]).abs().mean() for at in (21, 42)]
        return float(torch.stack(jumps).mean())

    assert seams(rows) < 0.5 * seams(shuffled)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("method.tile_px=25", r"tile_px is 25, more than a third of views\.size_px 72"),
        ("views.flip_probability=0.5", r"views\.flip_probability is 0\.5: .* Set it to 0"),
        ("method.num_orders=1", r"method\.num_orders: Input should be greater than"),
        ("method.num_orders=1001", r"method\.num_orders: Input should be less than"),
    ],
)
def test_a_recipe_that_can_not_be_played_is_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        pretrain_recipe(Path("store"), change, name="jigsaw_smoke")


def test_the_classifier_has_a_score_an_order(store_folder: Path) -> None:
    recipe = pretrain_recipe(store_folder, "method.num_orders=12", name="jigsaw_smoke")
    method, _ = build_pretext(recipe)
    (scores,) = method.eval()({"tiles": torch.randn(2, 9, 3, 20, 20)})
    assert scores.shape == (2, 12)
