"""`cxrssl pretrain RECIPE --preview FILE`: what a run would be given of images, to look at."""

from pathlib import Path

from cxrssl.config.schema import PretrainRecipe
from cxrssl.data.loaders import PoolImages
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.drawing.view_sheet import SheetRow, SheetView, save_view_sheet
from cxrssl.pretrain.pool import pool_images

_NUM_IMAGES = 6


def preview(recipe: PretrainRecipe, path: Path) -> Path:
    """Write a sheet of the first images of the first epoch with what is cut from them.

    Raises:
        CxrsslError: If the store or the pool can't be used.
    """
    images, plan = pool_images(Store(recipe.data.store), recipe)
    rows = [_row(images, int(index)) for index in plan.order(0)[:_NUM_IMAGES]]
    kind = "histogram equalised" if images.intensity.equalize else "as stored"
    name, size_px = recipe.method.name, recipe.views.size_px
    save_view_sheet(rows, path, title=f"{name}: {images.cut.title}; {size_px} px, {kind}")
    return path


def _row(images: PoolImages, index: int) -> SheetRow:
    pixels = images.image(index)
    first, second = images.cut.pictures(pixels, images.generators(Visit(0, index)))
    title = images.store.images[images.rows[index]].image_id
    return SheetRow(title, pixels, (SheetView(**vars(first)), SheetView(**vars(second))))
