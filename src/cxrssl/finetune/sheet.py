"""Training images as a detector is given them, and unlabelled ones as its teacher has them."""

from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.boxes import rescaled as rescaled_boxes
from cxrssl.core.pixels import rescaled
from cxrssl.data.cuts.augmentation import cut_out
from cxrssl.data.loaders import DetectionImages
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.data.store import Store
from cxrssl.data.unlabelled import UnlabelledImages
from cxrssl.drawing.image_sheet import COLOURS, Outline, Panel, save_image_sheet
from cxrssl.finetune.splits import labelled_splits, lines_on_changes, training_images
from cxrssl.finetune.unlabelled import unlabelled_images
from cxrssl.run.folder import TRAINING_IMAGES, RunFolder

_ROWS, _COLUMNS, _PANEL_PX = 2, 4, 256
_PREVIEW_ROWS, _PREVIEW_VIEWS = 4, 3


def write_training_images(
    run: RunFolder, images: DetectionImages, plan: BatchPlan, size_px: int
) -> None:
    """Write the run's first training images with their boxes, unless the sheet is there.

    Images are shown after intensity, all random changes and resize, without their names.

    Args:
        run: The run.
        images: Its training images.
        plan: The order of the images.
        size_px: Side to which the detector resizes.
    """
    path = run.path / TRAINING_IMAGES
    if not run.writes or path.exists():
        return
    visits = islice(chain.from_iterable(plan.batches()), _ROWS * _COLUMNS)
    panels = [_panel(images, visit, size_px) for visit in visits]
    rows = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    kind = "histogram equalised" if images.intensity.equalize else "as stored"
    title = f"First training images as the detector gets them: {size_px} px, {kind}"
    save_image_sheet(rows, path, title=title, panel_px=_PANEL_PX)


def preview(recipe: FinetuneRecipe, path: Path) -> tuple[Path, list[str]]:
    """Write a sheet of labelled images, each as it is and as it is trained on, with its boxes.

    With images without labels it also has rows of these: a weak view, which the teacher sees, and a
    strong one, which the student sees.

    Returns:
        The file, and in words what of the changes is not as the recipe says.

    Raises:
        CxrsslError: If the store or its boxes can't be used.
    """
    store = Store(recipe.data.store)
    splits = labelled_splits(store, recipe)
    images, plan = training_images(store, splits.train, recipe)
    plain = replace(images, flip_probability=0.0, augment=None, paste=None)
    visits = list(chain.from_iterable(plan.batches()[0:_PREVIEW_ROWS]))
    rows = []
    for visit in list(dict.fromkeys(visits))[:_PREVIEW_ROWS]:
        again = [visit._replace(epoch=epoch) for epoch in range(_PREVIEW_VIEWS)]
        first = replace(_panel(plain, visit, recipe.size_px), caption="as it is")
        rows.append([first, *(_panel(images, one, recipe.size_px) for one in again)])
    unlabelled = unlabelled_images(store, splits, recipe, num_steps=plan.num_steps)
    if unlabelled is not None:
        rows += _unlabelled_rows(unlabelled.images, recipe.size_px)
    kind = "histogram equalised" if images.intensity.equalize else "as stored"
    title = f"Training images, one a row, as they are and as they are trained on; {kind}"
    save_image_sheet(rows, path, title=title, panel_px=_PANEL_PX)
    return path, lines_on_changes(images)


def _unlabelled_rows(images: UnlabelledImages, size_px: int) -> list[list[Panel]]:
    """Return rows of a weak and a strong view, two images each."""
    rows = []
    for place in range(min(2, len(images.rows))):
        row = []
        for epoch in range(2):
            view = images[Visit(epoch, place)]
            strong = cut_out(view.strong[0].numpy().copy(), view.squares)
            for pixels, caption in ((view.weak[0].numpy(), "weak"), (strong, "strong")):
                shown = rescaled(pixels, height=size_px, width=size_px)
                row.append(Panel(shown, f"without labels: {caption} view"))
        rows.append(row)
    return rows


def _panel(images: DetectionImages, visit: Visit, size_px: int) -> Panel:
    pixels, target = images[visit]
    stored = pixels[0].numpy()
    height, width = stored.shape
    boxes = rescaled_boxes(
        target["boxes"].numpy(), x_scale=size_px / width, y_scale=size_px / height
    )
    classes, labels = images.store.classes, target["labels"].tolist()
    outlines = tuple(
        Outline((x0, y0, x1, y1), COLOURS[(label - 1) % len(COLOURS)], classes[label - 1])
        for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels, strict=True)
    )
    shown = rescaled(stored, height=size_px, width=size_px)
    return Panel(shown, f"{len(labels)} box{'' if len(labels) == 1 else 'es'}", outlines)
