"""Files of annotation tools that no layout reads, told by their content, and what to do instead."""

from pathlib import Path

from cxrssl.data.tables.csv_columns import whole_box_column
from cxrssl.data.tables.csv_files import header_names
from cxrssl.data.tables.json_head import json_head

_SHAPES = "region_shape_attributes"
_JSON_SIGNS: tuple[tuple[bytes, bytes, str], ...] = (
    (b'"_via_', b'"_via_', "VGG Image Annotator's"),
    (b"VGG Image Annotator", b'"metadata"', "VGG Image Annotator's"),
    (b'"filename"', b'"regions"', "VGG Image Annotator's"),
    (b'"imagePath"', b'"shapes"', "LabelMe's"),
    (b'"bndbox"', b'"objects"', "Supervisely's"),
    (b'"geometryType"', b'"objects"', "Supervisely's"),
)
_EXPORT = "it. Export COCO from the tool, or convert it to COCO, YOLO or Pascal VOC"


def tool_advice(path: Path) -> str:
    """Return what a file of another tool is and what to do with it; "" if it is not known."""
    if path.suffix.lower() == ".json":
        return _json_advice(path)
    names = header_names(path)
    if _SHAPES in names:
        return f"is VGG Image Annotator's CSV, and no layout reads {_EXPORT}."
    column = whole_box_column(names)
    if column is None:
        return ""
    return (
        f"has whole boxes in one column, {column}, which may be corners or a corner and sides. "
        "Divide it into the columns x_min, y_min, x_max and y_max, or x, y, width and height."
    )


def _json_advice(path: Path) -> str:
    head = json_head(path)
    if head is None:
        return ""
    for first, second, tool in _JSON_SIGNS:
        if first in head.content and second in head.content:
            return f"is {tool} JSON, and no layout reads {_EXPORT}."
    return ""
