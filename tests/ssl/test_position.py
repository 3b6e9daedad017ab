"""Position sees each patch alone, is told its cell, and refuses what hides or enlarges places."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cxrssl.core.errors import DataError, RecipeError
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.pretrain.pool import notes, pool_images
from cxrssl.pretrain.start import build_pretext
from cxrssl.ssl.position import Position
from support import pretrain_recipe


def position() -> Position:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    return Position(encoder, nn.Linear(5, 9), num_cells=9).double()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(3, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    return {"patches": patches, "cell": torch.tensor([[3, 0], [8, 3], [1, 2]])}


def test_scores_and_loss_are_those_of_a_loop_over_patches() -> None:
    method, losses = position(), []
    (scores,) = method(batch())
    for row, (patches, cells) in enumerate(zip(*batch().values(), strict=True)):
        for number, (patch, cell) in enumerate(zip(patches, cells, strict=True)):
            levels = (patch - patch.mean()) / patch.std(correction=0)
            expected = method.classifier(method.encoder(levels[None]))[0]
            assert torch.allclose(scores[row, number], expected, rtol=0, atol=1e-12)
            shares = [math.exp(float(score.detach())) for score in expected]
            losses.append(-math.log(shares[int(cell)] / sum(shares)))
    (loss,) = method.losses((scores,), batch()).values()
    assert float(loss.detach()) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_equal_scores_have_the_loss_of_chance() -> None:
    method = position()
    (loss,) = method.losses((torch.zeros(3, 2, 9),), batch()).values()
    assert float(loss) == pytest.approx(method.chance_loss(4), abs=1e-6)


def test_the_classifier_has_a_score_a_cell(store_folder: Path) -> None:
    changes = ("method.grid=4", "method.patch_px=24")
    method, _ = build_pretext(pretrain_recipe(store_folder, *changes, name="position_smoke"))
    (scores,) = method.eval()({"patches": torch.randn(2, 4, 3, 24, 24)})
    assert scores.shape == (2, 4, 16)
    assert method.chance_loss(2) == math.log(16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["method.patch_px=43"], r"patch_px is 43, more than two of 3 cells .* at most 42"),
        (["views.flip_probability=0.5"], r"views\.flip_probability is 0\.5: .* Set it to 0"),
        (["method.num_patches=10"], r"num_patches is 10, and method\.grid 3 has 9 cells.* most 9"),
        (["method.num_patches=1"], r"method\.num_patches: Input should be greater than"),
        (["method.grid=1"], r"method\.grid: Input should be greater than"),
        (["method.jitter=1.1"], r"method\.jitter: Input should be less than"),
    ],
)
def test_a_recipe_without_an_answer_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        pretrain_recipe(Path("store"), *changes, name="position_smoke")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "position_smoke",
            ["views.size_px=100", "method.patch_px=65"],
            r"size_px is 100, and the store has 64 px: a patch of 65 px .* larger --size\.$",
        ),
        (
            "jigsaw_smoke",
            ["method.tile_px=22"],
            r"method\.tile_px is 22: .* the 64 of the largest crop .* at most 21, or ingest",
        ),
        (
            "jigsaw_smoke",
            ["views.crop_area=[0.2, 0.5]"],  # 45 of 64 px
            r"method\.tile_px is 20: .* the 45 of the largest crop .* at most 15, or ingest",
        ),
    ],
)
def test_a_store_with_too_few_pixels_is_refused(
    name: str, changes: list[str], message: str, store: Store, store_folder: Path
) -> None:
    with pytest.raises(DataError, match=message):
        pool_images(store, pretrain_recipe(store_folder, *changes, name=name))


def test_views_that_are_enlarged_and_fields_without_use_are_said(
    store: Store, store_folder: Path
) -> None:
    def said(*changes: str, name: str = "smoke") -> list[str]:
        recipe = pretrain_recipe(store_folder, *changes, name=name)
        return notes(pool_images(store, recipe)[0], recipe)

    assert said() == []
    (enlarged,) = said("views.size_px=65")
    assert "views.size_px is 65 and the store has 64 px: every view is enlarged" in enlarged
    (unused,) = said(name="position_smoke")
    assert "views.crop_area and views.crop_aspect change nothing" in unused


def test_crops_change_no_patch(store: Store, store_folder: Path) -> None:
    changed = pretrain_recipe(store_folder, "views.crop_area=[0.9, 1.0]", name="position_smoke")
    recipes = (changed, pretrain_recipe(store_folder, name="position_smoke"))
    items = [pool_images(store, recipe)[0][Visit(0, 2)] for recipe in recipes]
    assert torch.equal(items[0]["patches"], items[1]["patches"])
