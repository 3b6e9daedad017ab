"""What tables of VinDr-CXR say of images themselves: their ids, and sizes where they state them."""

from pathlib import PurePosixPath

import pandas as pd

from cxrssl.core.sizes import Size, agreed_size, is_unreadable, stated_size, unreadable_note
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.rows import BOX_COLUMNS


def without_suffixes(names: pd.Series) -> tuple[pd.Series, dict[str, str], list[str]]:
    """Return image ids without the suffix of a file, faults of ids, and a note if there were any.

    `aa.dicom` is the image `aa`, whose file is `aa.dicom` or `aa.png`. Two ids that differ by their
    suffix alone are two files, and the table can't say which boxes are whose.
    """
    ids = {name: plain_id(PurePosixPath(name)) if "/" not in name else name for name in set(names)}
    cut = {name: plain for name, plain in ids.items() if plain != name}
    if not cut:
        return names, {}, []
    counts = pd.Series(cut).value_counts()
    faults = {
        str(plain): "the table has rows for it with several suffixes, such as .png and .jpg. Make "
        "it one id, or give the images different names."
        for plain in counts[counts > 1].index
    }
    note = f"{len(cut)} image_id(s) end in the suffix of a file, such as .dicom; it is left out"
    return names.map(ids), faults, [note]


def sizes_of(raw: pd.DataFrame) -> tuple[dict[str, Size], dict[str, str], list[str]]:
    """Return image id -> stated (width, height), faults of images, and notes."""
    if not {"width", "height"} <= set(raw.columns):
        return {}, {}, []
    if _are_boxes_sizes(raw):
        return {}, {}, ["columns width and height are those of the boxes, and are not used"]
    stated = raw[["image_id", "width", "height"]].drop_duplicates()
    sizes: dict[str, Size] = {}
    faults: dict[str, str] = {}
    num_unreadable = 0
    for name, group in stated.groupby("image_id", sort=False):
        pairs = list(zip(group["width"], group["height"], strict=True))
        num_unreadable += any(is_unreadable(value) for pair in pairs for value in pair)
        size, contradiction = agreed_size(stated_size(*pair) for pair in pairs)
        if contradiction:
            faults[str(name)] = f"{contradiction}."
        elif size is not None:
            sizes[str(name)] = size
    return sizes, faults, [unreadable_note(num_unreadable)] if num_unreadable else []


def _are_boxes_sizes(raw: pd.DataFrame) -> bool:
    """Return whether width and height repeat what every box's corners say."""
    columns = [*BOX_COLUMNS, "width", "height"]
    x_min, y_min, x_max, y_max, width, height = (
        pd.to_numeric(raw[name], errors="coerce") for name in columns
    )
    drawn = x_min.notna() & width.notna() & height.notna()
    fits = (x_max - x_min - width).abs().le(1) & (y_max - y_min - height).abs().le(1)
    return bool(drawn.any()) and bool(fits[drawn].all())
