"""Figures stand in a page: well-formed, apart from one another, in its ink, and true to values."""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cxrssl.drawing.balance import class_balance
from cxrssl.drawing.looks import Role, look_of
from cxrssl.drawing.readings import Readings, fusion_examples
from cxrssl.drawing.table_figures import write_class_balance
from cxrssl.report.figures.classes import class_curves
from cxrssl.report.figures.curves import Line, label_curve
from cxrssl.report.figures.runs import convergence
from cxrssl.report.figures.saved import labels_saved
from cxrssl.report.figures.targets import TargetLine, target_curve

_SVG = "{http://www.w3.org/2000/svg}"
_INF, _NAN = math.inf, math.nan
_ROLES: tuple[Role, ...] = ("ssl", "control", "other")


def _line(
    title: str = "SSL",
    role: Role = "ssl",
    fractions: Sequence[float] = (0.1, 0.2, 0.5, 1.0),
    scale: float = 1.0,
) -> Line:
    means = [scale * (0.3 + 0.1 * math.log2(fraction) / 3.4) for fraction in fractions]
    lows, highs = [0.9 * mean for mean in means], [1.1 * mean for mean in means]
    return Line(title, role, fractions, means, lows, highs, [[low] * 2 for low in lows])


def _readings(corners: Sequence[tuple[float, float]], height_per_width: float = 1.2) -> Readings:
    boxes = np.array([(x, y, x + 9, y + 9) for x, y in corners], np.float32).reshape(-1, 4)
    num = len(boxes)
    pixels = np.zeros((100, 100), np.uint8)
    names = [f"box at {x:g},{y:g}" for x, y in corners]
    return Readings(pixels, height_per_width, boxes, ["R1"] * num, boxes, names, [1] * num)


def _steps(num: int, start: float = 3.0) -> list[tuple[int, float]]:
    return [(10 * step, start / (1 + step)) for step in range(num)]


_LINES = [_line(), _line("control", "control", scale=0.8), _line("ImageNet", "other", scale=0.9)]
_FULL: dict[str, Callable[[], str]] = {
    "label curve": lambda: label_curve(_LINES, metric="AP50", reference=[(0.1, 0.2), (1.0, 0.3)]),
    "of another metric": lambda: label_curve(_LINES, metric="AP75"),
    "classes": lambda: class_curves(dict.fromkeys("abcde", _LINES), metric="AP50"),
    "convergence": lambda: convergence(
        {"a": _steps(50), "b": _steps(9, 2.0)}, roles={"a": "ssl", "b": "control"}, ylabel="loss"
    ),
    "balance": lambda: class_balance(["a", "b"], before=[3, 1.5], after=[1234, 5]),
    "fusion": lambda: fusion_examples([_readings([(10, 10), (50, 60)]), _readings([(2, 2)], 0.9)]),
    "target": lambda: target_curve(
        [
            TargetLine(
                *("SSL", "ssl", [20, 50, 100], [0.2, 0.3, 0.4], [0.1, 0.2, 0.3], [0.3, 0.4, 0.5]),
                *([(100, 0.4, 0.3, 0.5), (1000, 0.6, 0.4, 0.8)], 300.0),
            ),
            TargetLine("control", "control", [20], [0.1], [None], [None], [], None),
        ],
        metric="AP50",
        target=0.5,
        ticks={20: "20\n80 boxes", 100: "100\n400 boxes", 1000: "1,000\n4,000 boxes"},
    ),
    "with films": lambda: label_curve(_LINES, metric="AP50", amounts={0.1: "8 films\n31 boxes"}),
    "saved": lambda: labels_saved(
        [(0.1, 0.2, 0.0, 0.4), (0.5, _INF, 0.8, _INF)], least=0.1, most=1.0
    ),
}
_PARTIAL: dict[str, Callable[[], str]] = {
    "no line": lambda: label_curve([], metric="AP50"),
    "a line without points": lambda: label_curve([_line(fractions=())], metric="AP50"),
    "nan": lambda: label_curve(
        [Line("SSL", "ssl", [0.5], [_NAN], [None], [None], [[_NAN, _NAN]])], metric="AP50"
    ),
    "no target line": lambda: target_curve([], metric="AP50", target=0.5, ticks={}),
    "no class": lambda: class_curves({}, metric="AP50"),
    "a class without lines": lambda: class_curves({"a": [], "b": _LINES}, metric="AP50"),
    "no run": lambda: convergence({}, roles={}, ylabel="loss", chance=5.5),
    "a run not begun": lambda: convergence({"a": []}, roles={"a": "ssl"}, ylabel="loss"),
    "balance of nothing": lambda: class_balance([], before=[], after=[]),
    "no example": lambda: fusion_examples([]),
    "no share": lambda: labels_saved([], least=0.5, most=0.5),
    "unknown": lambda: labels_saved([(0.5, _NAN, _NAN, _NAN)], least=0.5, most=0.5),
}


def _drawn(draw: Callable[[], str]) -> ElementTree.Element:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ElementTree.fromstring(draw())


def _texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{_SVG}text")]


def _paths(root: ElementTree.Element, colour: str) -> list[list[tuple[float, float]]]:
    """Return the corners of lines of a colour, down is positive; legends have two corners."""
    lines = []
    for element in root.iter(f"{_SVG}path"):
        if f"stroke: {colour}" in element.get("style", "") and "fill: none" in element.get(
            "style", ""
        ):
            numbers = re.findall(r"[ML] ([\d.]+) ([\d.]+)", element.get("d", ""))
            lines.append([(float(x), float(y)) for x, y in numbers])
    return lines


def _ids(root: ElementTree.Element) -> list[str]:
    return [element.attrib["id"] for element in root.iter() if "id" in element.attrib]


@pytest.mark.parametrize("draw", _FULL.values(), ids=_FULL)
def test_a_figure_is_in_the_ink_of_the_page_and_asks_for_nothing(draw: Callable[[], str]) -> None:
    svg = draw()
    assert svg == draw()
    assert svg.startswith("<svg ")
    root = ElementTree.fromstring(svg)
    assert root[0].tag == f"{_SVG}title"
    assert root[0].text == root.get("aria-label")
    assert root.get("width") is None
    assert "viewBox" in root.attrib
    assert all(
        f"{_SVG}{tag}" not in {one.tag for one in root.iter()} for tag in ("style", "script")
    )
    for banned in ("#010203", "#000000", "black", "DejaVu"):
        assert banned not in re.sub(r"data:image/png;base64,[^\"]*", "", svg)
    # Text has the page's colour, or one of its own on a ground of its own.
    for text in root.iter(f"{_SVG}text"):
        assert re.search(r"fill: (currentColor|#[0-9a-f]{6})", text.get("style", "")), text.text
    hrefs = [
        element.attrib[name] for element in root.iter() for name in element.attrib if "href" in name
    ]
    assert all(href.startswith(("#f", "data:image/png;base64,")) for href in hrefs)


def test_ids_are_of_one_figure_and_all_are_found_in_it() -> None:
    all_ids: list[str] = []
    for draw in _FULL.values():
        svg = draw()
        ids = _ids(ElementTree.fromstring(svg))
        used = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", svg))
        assert used
        assert set(ids) == used
        all_ids += ids
    assert len(all_ids) == len(set(all_ids))


@pytest.mark.parametrize("draw", _PARTIAL.values(), ids=_PARTIAL)
def test_a_figure_of_nothing_says_so(draw: Callable[[], str]) -> None:
    assert "no value yet" in _texts(_drawn(draw))


@pytest.mark.parametrize("draw", _FULL.values(), ids=_FULL)
def test_a_full_figure_fits_without_a_warning(draw: Callable[[], str]) -> None:
    assert "no value yet" not in _texts(_drawn(draw))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["</text><script>alert(1)</script>", "$x$ and $\\y", "#010203", "_a", "a\x0bb", "肺炎"]
)
def test_a_name_is_text_as_it_is(name: str) -> None:
    shown = name.replace("\x0b", "\\x0b")
    assert shown in _texts(ElementTree.fromstring(label_curve([_line(name)], metric="AP")))
    # A panel's title breaks where there is a space.
    panels = _texts(ElementTree.fromstring(class_curves({name: _LINES}, metric="AP")))
    assert "".join(name.split()) in "".join("".join(panels).split())


def test_points_lie_where_their_values_are() -> None:
    fractions, means = [0.25, 0.5, 1.0], [0.1, 0.2, 0.4]
    line = Line("SSL", "ssl", fractions, means, [None] * 3, [None] * 3, [[mean] for mean in means])
    root = _drawn(lambda: label_curve([line], metric="AP"))
    colour = look_of("ssl").colour.lower()
    curve = max(
        (path for path in _paths(root, colour) if len(path) == 3), key=lambda path: path[2][0]
    )
    (x0, y0), (x1, y1), (x2, y2) = curve
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.02)
    assert y1 - y2 == pytest.approx(2 * (y0 - y1), abs=0.03)
    # The value 0 is on the axis: as far below 0.1 as 0.2 is above.
    axis = [y for (_, y), (_, other) in _two_cornered(root) if y == other]
    assert any(y == pytest.approx(2 * y0 - y1, abs=0.03) for y in axis)


def _two_cornered(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [path for path in _paths(root, "currentColor") if len(path) == 2]


def test_an_interval_is_a_band_and_a_bar_where_it_has_no_neighbour() -> None:
    fractions, means = [0.1, 0.2, 0.5, 1.0], [0.2] * 4
    lows, highs = [0.1, 0.1, None, 0.1], [0.3, 0.3, None, 0.3]
    line = Line("SSL", "ssl", fractions, means, lows, highs, [[]] * 4)
    root = _drawn(lambda: label_curve([line], metric="AP"))
    colour = look_of("ssl").colour.lower()
    areas = [e for e in root.iter() if f"fill: {colour}; fill-opacity: 0.16" in e.get("style", "")]
    bars = [e for e in root.iter() if "stroke-width: 4" in e.get("style", "")]
    assert len(areas) == len(bars) == 1


def test_shares_are_named_where_names_do_not_meet() -> None:
    ten = [share / 10 for share in range(1, 11)]
    root = _drawn(lambda: label_curve([_line(fractions=ten)], metric="AP"))
    names_at = {
        float(e.get("x", "")): e.text
        for e in root.iter(f"{_SVG}text")
        if (e.text or "").endswith(" %")
    }
    assert {"10 %", "50 %", "100 %"} <= set(names_at.values())
    assert all(right - left > 36 for left, right in pairwise(sorted(names_at)))


@pytest.mark.parametrize("num", [1, 2, 3, 4, 14, 30])
def test_every_class_has_a_panel_with_its_name(num: int) -> None:
    names = [f"Class {number}" for number in range(num)]
    root = _drawn(lambda: class_curves(dict.fromkeys(names, _LINES), metric="AP"))
    assert [text for text in _texts(root) if text.startswith("Class")] == names


def test_a_treatment_looks_the_same_in_a_panel_without_the_others() -> None:
    first, second = _line("A", "other"), _line("B", "other")
    root = _drawn(lambda: class_curves({"a": [first, second], "b": [second]}, metric="AP"))
    counts = [
        len([p for p in _paths(root, look_of("other", k).colour.lower()) if len(p) == 4])
        for k in (0, 1)
    ]
    assert counts == [1, 2]


def test_looks_differ_without_colour() -> None:
    for role in _ROLES:
        pairs = [(look.marker, look.dashes) for look in map(look_of, [role] * 6, range(6))]
        assert len(set(pairs)) == 6
    first = [look_of(role) for role in _ROLES]
    assert all(a.marker != b.marker and a.dashes != b.dashes for a, b in combinations(first, 2))


@pytest.mark.parametrize("ground", ["#ffffff", "#15181b"])
def test_lines_stand_out_against_the_page(ground: str) -> None:
    hues = {look_of(role, place).colour for role in _ROLES for place in range(3)} | {"#808080"}
    assert len(hues) == 8
    for hue in hues:
        dark, light = sorted((_luminance(hue), _luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 3, hue


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_a_peak_of_one_step_is_drawn_and_a_loss_not_finite_interrupts() -> None:
    points = [(step, 1.0 + step % 2) for step in range(5000)]
    points[1234], points[3000] = (1234, 9.0), (3000, _NAN)
    root = _drawn(lambda: convergence({"a": points}, roles={"a": "ssl"}, ylabel="loss"))
    colour = look_of("ssl").colour.lower()
    path = max(_paths(root, colour), key=len)
    assert len(path) <= 1201
    by_height = sorted(y for _, y in path)
    # 1, 2 and 9: the peak is 7 times as far above the second level as that is above the first.
    low, middle, peak = by_height[-1], by_height[1], by_height[0]
    assert middle - peak == pytest.approx(7 * (low - middle), rel=0.01)
    (curve,) = [e for e in root.iter(f"{_SVG}path") if len(e.get("d", "")) > 5000]
    assert curve.get("d", "").count("M") == 2


@pytest.mark.parametrize(("num", "smoothed"), [(12, False), (13, True), (100, True)])
def test_smoothing_is_said(num: int, smoothed: bool) -> None:
    runs = {f"run {place}": _steps(400, 2.0 + place) for place in range(num)}
    roles: dict[str, Role] = dict.fromkeys(runs, "ssl")
    texts = _texts(_drawn(lambda: convergence(runs, roles=roles, ylabel="loss")))
    assert ("step; means of 1/60 of a run" in texts) == smoothed
    assert f"treatment ({num})" in texts
    short = {title: points[:60] for title, points in runs.items()}
    assert "step" in _texts(_drawn(lambda: convergence(short, roles=roles, ylabel="loss")))


def test_as_many_labels_lie_on_the_diagonal_and_beyond_is_above_the_greatest() -> None:
    rows = [(0.25, 0.25, 0.25, 0.25), (0.5, _INF, _INF, _INF), (1.0, 0.0, 0.0, 0.0)]
    root = _drawn(lambda: labels_saved(rows, least=0.25, most=1.0))
    ticks = {
        e.text: float(e.get("y", ""))
        for e in root.iter(f"{_SVG}text")
        if " %" in (e.text or "") and float(e.get("x", "")) < 80
    }
    x_of = {
        e.text: float(e.get("x", ""))
        for e in root.iter(f"{_SVG}text")
        if " %" in (e.text or "") and float(e.get("x", "")) > 80
    }
    colour = look_of("ssl").colour.lower()
    markers = [
        (float(e.get("x", "")), float(e.get("y", "")))
        for e in root.iter(f"{_SVG}use")
        if colour in e.get("style", "")
    ]

    def heights_at(share: str) -> list[float]:
        return [y for x, y in markers if abs(x - x_of[share]) < 1]

    # The tick's name is written a few points below its middle.
    assert heights_at("25 %")[0] == pytest.approx(ticks["25 %"] - 3.8, abs=1.5)
    assert max(heights_at("50 %")) < ticks["100 %"] - 5
    assert min(heights_at("100 %")) > ticks["25 %"]


def test_both_figures_of_balance_hold_the_same_numbers(tmp_path: Path) -> None:
    values = {"before": [3, 81, 2178], "after": [1.5, 324, 3782]}
    write_class_balance(tmp_path / "figure", ["a", "b", "c"], **values)
    page = _texts(_drawn(lambda: class_balance(["a", "b", "c"], **values)))
    file = _texts(ElementTree.parse(tmp_path / "figure.svg").getroot())
    for text in ("3", "81", "2,178", "1.5", "324", "3,782", "a", "b", "c", "training images"):
        assert text in page
        assert text in file


def test_fused_boxes_are_numbered_downwards_and_numbers_stay_apart() -> None:
    corners = [(40, 70), (40, 40), (41, 41), (40, 42), (42, 40), (41, 40), (90, 0), (90, 91)]
    root = _drawn(lambda: fusion_examples([_readings(corners)]))
    texts = [text for text in _texts(root) if "box at" in text]
    order = sorted(corners, key=lambda corner: (corner[1], corner[0]))
    assert texts == [f"{n} box at {x:g},{y:g}, 1 reader" for n, (x, y) in enumerate(order, start=1)]
    numbers = [e for e in root.iter(f"{_SVG}text") if re.fullmatch(r"\d", e.text or "")]
    positions = [(float(e.get("x", "")), float(e.get("y", ""))) for e in numbers]
    assert len(positions) == len(corners)
    assert all(abs(a - c) > 11 or abs(b - d) > 11 for (a, b), (c, d) in combinations(positions, 2))
    assert len(list(root.iter(f"{_SVG}image"))) == 2
