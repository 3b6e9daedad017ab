"""The first training images of a run as its detector is given them, to look at."""

from itertools import chain, islice

from cxrssl.core.boxes import rescaled as rescaled_boxes
from cxrssl.core.pixels import rescaled
from cxrssl.data.loaders import DetectionImages
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.drawing.image_sheet import COLOURS, Outline, Panel, save_image_sheet
from cxrssl.run.folder import TRAINING_IMAGES, RunFolder

_ROWS, _COLUMNS, _PANEL_PX = 2, 4, 256


def write_training_images(
    run: RunFolder, images: DetectionImages, plan: BatchPlan, size_px: int
) -> None:
    """Write the run's first training images with their boxes, unless the sheet is there.

    Images are shown after intensity, flip and resize, without their names.

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
