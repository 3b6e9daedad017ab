"""Which levels are shown: the VOI lookup tables and windows of a header, and which one is used.

The first that can be used of: the tables, the windows beside them, the same in the functional
groups. Where none can, `display` takes a percentile range. What is passed over is said.
Source: DICOM PS3.3, C.11.2 (VOI LUT), C.7.6.16.2.10 (Frame VOI LUT functional group).
"""

from dataclasses import dataclass, replace

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.values import Table, Values

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_TABLES, _CENTRE, _WIDTH = "VOILUTSequence", "WindowCenter", "WindowWidth"
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Window:
    """Which levels are shown, in modality units; `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    centre: float
    width: float
    function: str


@dataclass(frozen=True)
class Voi:
    """A table or a window, or neither; and warnings about those passed over."""

    table: Table | None
    window: Window | None
    warnings: tuple[str, ...]


def functional_groups(reader: Values, keyword: str) -> list[Values]:
    """Return the items of a functional group: shared by the frames, then of the first frame.

    Raises:
        DataError: If the groups are broken.
    """
    groups = [reader.items(name)[:1] for name in _GROUPS]
    return [item for group in groups for frame in group for item in frame.items(keyword)[:1]]


def read_voi(reader: Values, *, negative: bool) -> Voi:
    """Return what of a header is used, and say what was passed over.

    Args:
        reader: Values of the header.
        negative: Whether levels may be below 0 when a VOI table gets them.
    """
    sources, faults = [reader], []
    try:
        sources += functional_groups(reader, "FrameVOILUTSequence")
    except DataError:
        faults.append("the functional groups can't be read")
    table, wrong = _first_table(sources, negative=negative)
    faults += wrong
    if table is not None:
        scaled, remarks = _scaled(table)
        return Voi(scaled, None, (*_passed_over(faults, "another VOI LUT"), *remarks))
    window, wrong = _first_window(sources)
    faults += wrong
    used = "the percentile range" if window is None else "a window"
    return Voi(None, window, _passed_over(faults, used))


def _passed_over(faults: list[str], used: str) -> tuple[str, ...]:
    return (f"{'; '.join(faults)}: {used} was used",) if faults else ()


def _first_table(sources: list[Values], *, negative: bool) -> tuple[Table | None, list[str]]:
    """Return the first table that can be used, and what is wrong with those before it."""
    faults: list[str] = []
    for source in sources:
        try:
            items = source.items(_TABLES)
        except DataError:
            items = []
            faults.append("the sequence of VOI LUTs is broken")
        for item in items:
            try:
                table = item.lookup_table(_TABLES, negative=negative)
            except DataError:
                faults.append("a VOI LUT is broken, or shorter than its descriptor says")
                continue
            if table is not None:
                return table, faults
            faults.append("a VOI LUT is empty")
    return None, faults


def _scaled(table: Table) -> tuple[Table, tuple[str, ...]]:
    """Return the table with white at the most that the bits its data take can hold.

    Some writers state 16 bits for data of 12: by the letter that is a black picture.
    """
    bits = int(table.values.max()).bit_length()
    if bits in (0, table.bits):
        return table, ()
    remark = f"the VOI LUT says {table.bits} bits and holds {bits}: it was scaled by what it holds"
    return replace(table, highest=2**bits - 1), (remark,)


def _first_window(sources: list[Values]) -> tuple[Window | None, list[str]]:
    """Return the first window that can be used, and what is wrong with those before it."""
    faults: list[str] = []
    for source in sources:
        centres, widths = source.numbers(_CENTRE), source.numbers(_WIDTH)
        if bool(centres) != bool(widths):
            faults.append("a window has only one of WindowCenter and WindowWidth")
        if not centres or not widths:
            continue
        function = source.text("VOILUTFunction") or "LINEAR"
        if function not in _FUNCTIONS:
            faults.append("VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID")
            continue
        for centre, width in zip(centres, widths, strict=False):
            if centre is None or width is None:
                faults.append("WindowCenter or WindowWidth is not a number")
            # PS3.3 C.11.2.1.2.1 and C.11.2.1.3: LINEAR is defined from 1 on, others above 0.
            elif width < 1 if function == "LINEAR" else width <= 0:
                faults.append(f"WindowWidth is too small for a {function} window")
            else:
                return Window(centre, width, function), faults
    return None, faults
