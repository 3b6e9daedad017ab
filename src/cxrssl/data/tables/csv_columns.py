"""Which column of a table of boxes holds what, whatever its tool calls it.

Names are compared without regard to case, blanks, dots and dashes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.tables.rows import BoxForm

# The first that a table has is taken, of files before ids: an id may be a number of another kind.
_IMAGE = (
    "file", "filename", "file_name", "filepath", "file_path", "image_file", "image_path", "path",
    "image_name", "img_name", "image", "img", "image_id", "img_id", "imageid", "image_index",
    "dicom", "dicom_id", "sop_instance_uid", "sopinstanceuid",
)  # fmt: skip
_X_MIN = ("x_min", "xmin", "x1", "x0", "left", "bbox_x_min", "bbox_xmin", "bbox_x1")
_Y_MIN = ("y_min", "ymin", "y1", "y0", "top", "bbox_y_min", "bbox_ymin", "bbox_y1")
_X_MAX = ("x_max", "xmax", "x2", "right", "bbox_x_max", "bbox_xmax", "bbox_x2")
_Y_MAX = ("y_max", "ymax", "y2", "bottom", "bbox_y_max", "bbox_ymax", "bbox_y2")
_X = ("x", "bbox_x", "box_x", *_X_MIN)
_Y = ("y", "bbox_y", "box_y", *_Y_MIN)
_X_CENTER = ("x_center", "xcenter", "center_x", "cx", "x_c", "bbox_x_center")
_Y_CENTER = ("y_center", "ycenter", "center_y", "cy", "y_c", "bbox_y_center")
_WIDTH = ("bbox_width", "box_width", "bbox_w", "box_w", "w", "width")
_HEIGHT = ("bbox_height", "box_height", "bbox_h", "box_h", "h", "height")
_WHOLE_BOX = (
    "bbox", "box", "boxes", "bboxes", "bounding_box", "bounding_boxes", "boundingbox", "bndbox",
    "coordinates", "coords", "annotation", "annotations", "rect", "rectangle", "geometry",
)  # fmt: skip
_IMAGE_WIDTH = ("image_width", "img_width", "original_width", "im_width", "columns", "width")
_IMAGE_HEIGHT = ("image_height", "img_height", "original_height", "im_height", "rows", "height")
_CLASS = (
    "class_name", "label_name", "category_name", "class", "label", "category", "finding",
    "finding_label", "class_label", "finding_name", "pathology", "disease", "labelname",
    "classname", "class_id", "label_id", "category_id", "name",
)  # fmt: skip
_READER = (
    "reader", "reader_id", "annotator", "annotator_id", "rad_id", "radiologist", "radiologist_id",
    "rater", "rater_id", "labeler", "labeller", "observer",
)  # fmt: skip
_PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id", "subjectid")
_SPLIT = ("split", "subset", "partition", "set")
_KIND = ("kind", "image_kind", "film_kind")
_UNIT = ("unit", "units", "box_unit", "bbox_unit")
_FORMS: tuple[tuple[BoxForm, tuple[tuple[str, ...], ...]], ...] = (
    ("corners", (_X_MIN, _Y_MIN, _X_MAX, _Y_MAX)),
    ("center", (_X_CENTER, _Y_CENTER, _WIDTH, _HEIGHT)),
    ("sides", (_X, _Y, _WIDTH, _HEIGHT)),
)
_BLANKS = re.compile(r"[\s.\-]+")

Role = Literal[
    "image", "category", "reader", "patient", "split", "kind", "unit", "image_width", "image_height"
]


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they hold.

    Attributes:
        form: How its boxes are written.
        box: The four columns of a box, in the order of `form`.
        roles: Other columns by what they hold.
        unused: Columns of which nothing is read.
    """

    form: BoxForm
    box: tuple[str, str, str, str]
    roles: dict[Role, str]
    unused: tuple[str, ...]


def columns_of(header: Sequence[str], *, place: str) -> Columns | None:
    """Return what the columns of a table hold; None if it is no table of boxes.

    Raises:
        DataError: If a column is there twice, or two seem to hold the same.
    """
    by_name = {plain_name(name): name for name in header}
    image = _first(by_name, _IMAGE)
    if image is None or not _has_box(by_name):
        return None  # whatever its cells repeat
    known = _by_plain_name(header, place=place)
    form, box_columns = _box_columns(known, place=place)
    used = {image, *box_columns}
    roles: dict[Role, str] = {"image": image}
    if form == "corners" or not {known.get("width"), known.get("height")} & used:
        num_names = len(_IMAGE_WIDTH)
    else:  # width and height, the last of the names, are those of the box
        num_names = len(_IMAGE_WIDTH) - 1
    width, height = (_first(known, s[:num_names]) for s in (_IMAGE_WIDTH, _IMAGE_HEIGHT))
    if width is not None and height is not None:
        roles |= {"image_width": width, "image_height": height}
    others: list[tuple[Role, tuple[str, ...]]] = [
        ("reader", _READER), ("patient", _PATIENT), ("split", _SPLIT), ("kind", _KIND),
        ("unit", _UNIT),
    ]  # fmt: skip
    category = _first(known, _CLASS)
    if category is not None:
        roles["category"] = category
    for role, names in others:
        column = _only(known, names, what=role, place=place)
        if column is not None:
            roles[role] = column
    used |= set(roles.values())
    return Columns(form, box_columns, roles, tuple(name for name in header if name not in used))


def image_and_split_columns(header: Sequence[str], *, place: str) -> tuple[int, int]:
    """Return where a table of images has the image's name and its split.

    Raises:
        DataError: If it has no such column, or a column twice.
    """
    known = _by_plain_name(header, place=place)
    image, split = _first(known, _IMAGE), _only(known, _SPLIT, what="split", place=place)
    if image is None or split is None:
        shown = ", ".join(map(printable, header[:8])) or "none"
        raise DataError(f"{place}: expected the columns image and split; it has {shown}.")
    names = list(header)
    return names.index(image), names.index(split)


def image_column(header: Sequence[str]) -> int | None:
    """Return where a table has the image's name or id; None if it doesn't, or has it twice."""
    plain = [plain_name(name) for name in header]
    name = next((name for name in (*_IMAGE, "id") if name in plain), "")
    return plain.index(name) if plain.count(name) == 1 else None


def whole_box_column(header: Sequence[str]) -> str | None:
    """Return the column of a table of images whose cells seem to hold a whole box each."""
    by_name = {plain_name(name): name for name in header}
    return _first(by_name, _WHOLE_BOX) if _first(by_name, _IMAGE) is not None else None


def names_patients(header: Sequence[str]) -> bool:
    """Return whether a table has a column for the image and one for the patient."""
    by_name = {plain_name(name): name for name in header}
    return _first(by_name, _IMAGE) is not None and _first(by_name, _PATIENT) is not None


def plain_name(name: str) -> str:
    """Return a column's name as names are compared."""
    return _BLANKS.sub("_", name.strip().casefold())


def _by_plain_name(header: Sequence[str], *, place: str) -> dict[str, str]:
    known: dict[str, str] = {}
    for name in header:
        plain = plain_name(name)
        if plain in known:
            raise DataError(
                f"{place}: the column {printable(name)!r} is there twice. Rename or remove one of "
                "them."
            )
        if plain:
            known[plain] = name
    return known


def _has_box(known: dict[str, str]) -> bool:
    return any(_has_all(known, names) for _, names in _FORMS)


def _has_all(known: dict[str, str], names: Sequence[Sequence[str]]) -> bool:
    return all(_first(known, candidates) is not None for candidates in names)


def _box_columns(known: dict[str, str], *, place: str) -> tuple[BoxForm, tuple[str, str, str, str]]:
    """Return the form of a table's boxes and its four columns; it has some."""
    for form, names in _FORMS:
        if not _has_all(known, names):
            continue
        # Of width and height a table may have those of the image beside those of the box.
        first, second, third, fourth = (
            _first(known, candidates)
            if candidates in (_WIDTH, _HEIGHT)
            else _only(known, candidates, what="box", place=place)
            for candidates in names
        )
        if first and second and third and fourth:
            return form, (first, second, third, fourth)
    raise AssertionError("the caller has seen columns of a box")


def _first(known: dict[str, str], names: Sequence[str]) -> str | None:
    return next((known[name] for name in names if name in known), None)


def _only(known: dict[str, str], names: Sequence[str], *, what: str, place: str) -> str | None:
    present = [known[name] for name in names if name in known]
    if len(present) > 1:
        shown = " and ".join(repr(printable(name)) for name in present[:2])
        raise DataError(
            f"{place}: the columns {shown} both seem to hold the {what}. Rename or remove one of "
            "them."
        )
    return present[0] if present else None
