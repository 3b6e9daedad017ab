"""A sheet of pretraining images and what is cut from them, for `--preview` and the run's folder."""

from collections.abc import Sequence
from pathlib import Path

from cxrssl.config.schema import PretrainRecipe
from cxrssl.data.cuts import CutImage
from cxrssl.data.cuts.two_views import view_image
from cxrssl.data.loaders import PoolImages
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.data.store import Store
from cxrssl.drawing.image_sheet import COLOURS, Outline, Panel, save_image_sheet
from cxrssl.pretrain.pool import pool_images
from cxrssl.run.folder import TRAINING_IMAGES, RunFolder

_NUM_IMAGES, _PANEL_PX = 6, 256
# In a run's folder the sheet stays below a megabyte.
_NUM_IMAGES_OF_RUN, _PANEL_PX_OF_RUN = 4, 208


def preview(recipe: PretrainRecipe, path: Path) -> Path:
    """Write a sheet of the first images of the first epoch with what is cut from them.

    Raises:
        CxrsslError: If the store or the pool can't be used.
    """
    images, plan = pool_images(Store(recipe.data.store), recipe)
    rows = _rows(images, plan, _NUM_IMAGES, is_named=True)
    save_image_sheet(rows, path, title=_title(recipe, images), panel_px=_PANEL_PX)
    return path


def write_training_images(
    run: RunFolder, images: PoolImages, plan: BatchPlan, recipe: PretrainRecipe
) -> None:
    """Write a sheet without names of images into the run's folder, unless it is there.

    Args:
        run: The run.
        images: Its pool.
        plan: The order of the images.
        recipe: Recipe of the run.
    """
    path = run.path / TRAINING_IMAGES
    if run.writes and not path.exists():
        rows = _rows(images, plan, _NUM_IMAGES_OF_RUN, is_named=False)
        save_image_sheet(rows, path, title=_title(recipe, images), panel_px=_PANEL_PX_OF_RUN)


def _title(recipe: PretrainRecipe, images: PoolImages) -> str:
    kind = "histogram equalised" if images.intensity.equalize else "as stored"
    return f"{recipe.method.name}: {images.cut.title}; {recipe.views.size_px} px, {kind}"


def _rows(
    images: PoolImages, plan: BatchPlan, num_images: int, *, is_named: bool
) -> list[list[Panel]]:
    return [_row(images, int(index), is_named=is_named) for index in plan.order(0)[:num_images]]


def _row(images: PoolImages, index: int, *, is_named: bool) -> list[Panel]:
    """Return the image with what is cut from it outlined, and each cut.

    Of two films of a patient each comes with its own view, and is outlined by itself.
    """
    visit = Visit(0, index)
    films, generators = images.films(visit), images.generators(visit)
    if images.pairs is None or films[0] == films[1]:
        cuts = images.cut.preview(images.image(index), generators)
        return [_film(images, index, cuts, COLOURS, is_named=is_named), *_shown(cuts, COLOURS)]
    panels, ranges = [], images.pairs.cut.ranges
    for film, generator, colour in zip(films, generators, COLOURS, strict=False):
        cut = view_image(images.image(film), ranges, generator)
        panels.append(_film(images, film, [cut], [colour], is_named=is_named))
        panels += _shown([cut], [colour])
    return panels


def _film(
    images: PoolImages,
    index: int,
    cuts: Sequence[CutImage],
    colours: Sequence[str],
    *,
    is_named: bool,
) -> Panel:
    """Return an image of the pool with its cuts outlined."""
    outlines = tuple(
        Outline((c.left_px, c.top_px, c.left_px + c.width_px, c.top_px + c.height_px), colour)
        for c, colour in zip(cuts, colours, strict=False)
    )
    name = images.store.images[images.rows[index]].image_id if is_named else ""
    return Panel(images.image(index), name, outlines)


def _shown(cuts: Sequence[CutImage], colours: Sequence[str]) -> list[Panel]:
    """Return the cuts themselves."""
    pairs = zip(cuts, colours, strict=False)
    return [Panel(cut.pixels, cut.caption, frame=colour) for cut, colour in pairs]
