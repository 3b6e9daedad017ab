"""SVG inside an HTML page, in the text colour of that page: dark on light, light on dark.

Axes, text and legends are `currentColor`, the ground is transparent, text stays text in the page's
own font, and a figure is as wide as its place, until its text would be larger than the page's.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.figure import Figure

from cxrssl.core.printable import printable, printable_lines

WIDTH_IN = 4.8
"""Width at which text of 10 points is 10 px high on a phone of 340 CSS px."""
INK = "#010203"
"""Placeholder of the colour of the page's text; no figure uses it for anything else."""
NOTE_GREY = "#808080"
"""Colour of the paper's points; contrast 3.9 against white, 4.5 against the dark page."""

_PAGE_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cxrssl",
    # A name with two dollar signs is a name, not a formula.
    "text.parse_math": False,
    "font.size": 10,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "grid.alpha": 0.2,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    **dict.fromkeys(("grid.color", "hatch.color"), INK),
}
# matplotlib writes a font in one piece, or its family apart.
_FONT = re.compile(r"\b(font: (?:[a-z0-9]+ )*[\d.]+px|font-family:) [^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
# How many times larger than drawn a figure gets in a wide page.
_MOST_ENLARGED = 1.75


def page_style() -> AbstractContextManager[None]:
    """Return the style of figures in a page, whatever a user's matplotlibrc says.

    A figure is both made and turned into text inside it.
    """
    return style.context(["default", _PAGE_STYLE])


def svg_text(figure: Figure, title: str, *, dpi: float = 150) -> str:
    """Return a figure as one `<svg>` element, the same bytes for the same figure.

    No id in it occurs in another figure, unless that one is equal to the byte.

    Args:
        figure: Figure made in `page_style`.
        title: Text for screen readers.
        dpi: Resolution of images in it.
    """
    title = printable(title)
    metadata = {"Date": None, "Creator": None, "Type": None, "Format": None}
    drawn = drawn_svg(figure, dpi=dpi, metadata=metadata)
    root = ElementTree.fromstring(drawn)
    for element in root.iter():
        # A page's parser knows what is SVG, so names go without their namespaces.
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _in_page_colour(value) for name, value in element.items()}
        if "d" in element.attrib:
            # A hundredth of a point can't be seen; the rest is half of the file.
            element.set("d", _LONG_NUMBER.sub(lambda n: f"{float(n[0]):.2f}", element.attrib["d"]))
    for child in root.findall("metadata"):
        root.remove(child)
    for parent in root.iter("defs"):
        # matplotlib's style sheet would hold for the whole page.
        for child in parent.findall("style"):
            parent.remove(child)
    _rename_ids(root, hashlib.sha256(f"{title}\n{drawn}".encode()).hexdigest()[:10])
    _frame(root, title)
    return ElementTree.tostring(root, encoding="unicode")


def drawn_svg(figure: Figure, *, dpi: float, metadata: dict[str, Any]) -> str:
    """Return a figure as matplotlib writes it, without characters that XML does not allow."""
    sink = io.StringIO()
    with warnings.catch_warnings():
        # The font that lacks a letter only measures; the page's own writes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(sink, format="svg", dpi=dpi, metadata=metadata)
    return printable_lines(sink.getvalue())


def png_bytes(figure: Figure) -> bytes:
    """Return a figure, made in `page_style`, as a PNG on white: equal bytes for equal figures."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return sink.getvalue()


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _in_page_colour(value: str) -> str:
    value = value.replace(INK, "currentColor")
    return _FONT.sub(r"\1 system-ui, sans-serif", value)


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Keep only ids that something refers to, and begin them with the figure's own prefix."""
    used: dict[str, str] = {}

    def new_id(name: str) -> str:
        return used.setdefault(name, f"f{prefix}-{len(used)}")

    for element in root.iter():
        for name, value in element.items():
            if name == "href" and value.startswith("#"):
                element.set(name, f"#{new_id(value[1:])}")
            elif "url(#" in value:
                element.set(name, _REFERENCE.sub(lambda match: f"url(#{new_id(match[1])})", value))
    for element in root.iter():
        name = element.attrib.pop("id", "")
        if name in used:
            element.set("id", used[name])


def _frame(root: ElementTree.Element, title: str) -> None:
    """Make the root fit a page, and give it its title."""
    width = float(root.attrib["viewBox"].split()[2])
    attributes: Mapping[str, str] = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": title,
        "stroke-linejoin": "round",
        "style": f"display: block; width: 100%; max-width: {_MOST_ENLARGED * width:.0f}px; "
        "height: auto; margin: 0 auto",
    }
    root.attrib = dict(attributes)
    heading = ElementTree.Element("title")
    heading.text = title
    root.insert(0, heading)
