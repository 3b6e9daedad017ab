"""`cxrssl pretrain RECIPE --preview FILE`: the views that a run would be given, to look at."""

from pathlib import Path

from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.images import Pixels
from cxrssl.data.loaders import ViewPairs
from cxrssl.data.store import Store
from cxrssl.data.views import ViewRanges, draw_view, view_generator, view_of
from cxrssl.drawing.view_sheet import SheetRow, SheetView, save_view_sheet
from cxrssl.pretrain.pool import pool_views

_NUM_IMAGES = 6


def preview(recipe: PretrainRecipe, path: Path) -> Path:
    """Write a sheet of the first images of the first epoch with both their views.

    Raises:
        CxrsslError: If the store or the pool can't be used.
    """
    store = Store(recipe.data.store)
    views, plan = pool_views(store, recipe)
    rows = [_row(views, int(index)) for index in plan.order(0)[:_NUM_IMAGES]]
    kind = "histogram equalised" if views.intensity.equalize else "as stored"
    title = f"What SimCLR must recognise as one image: {recipe.views.size_px} px, {kind}"
    save_view_sheet(rows, path, title=title)
    return path


def _row(views: ViewPairs, index: int) -> SheetRow:
    pixels, row = views.image(index), views.rows[index]
    first, second = (_view(pixels, views.ranges, views.seed, row, view) for view in (0, 1))
    return SheetRow(views.store.images[row].image_id, pixels, (first, second))


def _view(pixels: Pixels, ranges: ViewRanges, seed: int, row: int, view: int) -> SheetView:
    height, width = pixels.shape
    draw = draw_view(height, width, ranges, view_generator(seed, 0, row, view))
    share = draw.height * draw.width / pixels.size
    turned = ", mirrored" if draw.is_mirrored else ""
    caption = (
        f"crop {share:.0%}{turned}\nblur {draw.blur_sigma_px:.1f} px, noise {draw.noise_share:.0%}"
    )
    return SheetView(
        view_of(pixels, draw, ranges), draw.left, draw.top, draw.width, draw.height, caption
    )
