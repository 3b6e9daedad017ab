"""Names a picture that came out blank or posterised, and says why where that can be found.

What is stored is looked at first, which costs next to nothing. Only where it is suspicious is the
file decoded once more, at its own size: there a small store hides no level and padding counts for
nothing.
"""

from cxrssl.core.errors import DataError
from cxrssl.core.grey_levels import GreyLevels, grey_levels, is_of_few_levels
from cxrssl.core.images import Fit, Pixels, Radiograph, placement
from cxrssl.data.dicom.read import decode_dicom, levels_of
from cxrssl.data.rasters import decode_raster

_FULL_RANGE = 65535
_NEARLY_ALL = 0.9
_STEP = 257  # levels of 16 bits that make one of 8


def blank_warning(
    image: Radiograph, content: bytes, *, name: str, fit: Fit, is_raster: bool
) -> str | None:
    """Return the warning about an image that is blank or posterised; None for any other.

    Args:
        image: In a square, as a store has it, or at its own size.
        content: The whole file.
        name: What messages call it.
        fit: How it lies in the square.
        is_raster: Whether it is a PNG, JPEG, ... file, and not DICOM.
    """
    if grey_levels(_inside(image, fit)).fault is None and not image.has_few_levels:
        return None
    try:
        grey, reason = _raster(content, name) if is_raster else _dicom(content, name)
    # It was decoded once: what goes wrong here tells nothing, and the picture is as it is.
    except DataError:
        grey, reason = grey_levels(_inside(image, fit)), None
    if grey.fault is None:
        return None
    return f"the picture {grey.fault}" + (f"; {reason}" if reason else "")


def _inside(image: Radiograph, fit: Fit) -> Pixels:
    """Return the pixels that the image covers of its square; all, at its own size."""
    if image.pixels.shape == (image.original_height, image.original_width):
        return image.pixels
    side = image.pixels.shape[0]
    place = placement(image.original_width, image.original_height, size_px=side, fit=fit)
    rows = slice(place.y_offset_px, place.y_offset_px + place.height_px)
    columns = slice(place.x_offset_px, place.x_offset_px + place.width_px)
    return image.pixels[rows, columns]


def _raster(content: bytes, name: str) -> tuple[GreyLevels, str | None]:
    image = decode_raster(content, name=name, size_px=None, fit="squash")
    grey = grey_levels(image.pixels)
    if grey.count == 1:
        return grey, "so is the file itself"
    if image.has_few_levels:
        return grey, "the file itself has no more, as masks and drawings do"
    if "; I" in image.route:  # Pillow's modes of 16 bits and more
        # The picture was rounded: at least this is in the file.
        highest = max(1, grey.brightest * _STEP - _STEP // 2)
        if highest.bit_length() < _FULL_RANGE.bit_length():
            return grey, (
                f"of the file's 16 bits only the lowest {highest.bit_length()} are used, and 16 "
                "are taken for its range: write it anew, its levels scaled to 0 to 65535"
            )
    return grey, None


def _dicom(content: bytes, name: str) -> tuple[GreyLevels, str | None]:
    image = decode_dicom(content, name=name, size_px=None, fit="squash", exact=True)
    levels, valid = levels_of(content, name=name)
    grey = grey_levels(image.pixels[valid])
    valid_levels = levels[valid]
    if (valid_levels == valid_levels[0]).all():
        return grey, "so is the file itself: all its pixels have one level"
    if is_of_few_levels(valid_levels[None]):
        return grey, "the file itself has no more levels"
    return grey, _dicom_reason(grey, image.route)


def _dicom_reason(grey: GreyLevels, route: str) -> str | None:
    """Say which rule for showing it made few levels of many."""
    if "VOI LUT" in route:
        return "its lookup table (VOI LUT) makes no more of its levels"
    if "window" not in route:
        return None
    if grey.most_common in (0, 255) and grey.fraction > _NEARLY_ALL:
        return "its window lies beside (nearly) all of its levels"
    if grey.fraction_at_ends > _NEARLY_ALL:
        return "its window is far narrower than the range of its levels"
    return "its window is far wider than the range of its levels"
