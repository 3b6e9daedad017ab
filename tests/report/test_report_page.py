"""The report as a browser shows it: nothing from outside, nothing cut off, boxes as asked."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from cxrssl.report.html import render_report
from page_content import bare_content, made_content

pytestmark = pytest.mark.slow

_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
_HOSTILE = "</script><img src=x onerror=alert(1)>"
_SECTIONS = [
    *("treatments", "table-1", "prior", "table-2", "saved", "targets", "curves", "classes", "data"),
    *(
        "convergence",
        "learning",
        "images",
        "faults",
        "transfers",
        "gallery",
        "definitions",
        "provenance",
    ),
]
# Text that is seen, its contrast with what is below it, by WCAG 2's formula.
_FAINT_TEXT = """() => {
  const rgba = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], ground) => [r, g, b].map((v, i) => a * v + (1 - a) * ground[i]);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92
      : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const groundOf = (element) => {
    if (!element) return [255, 255, 255];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, groundOf(element.parentElement));
  };
  const found = [];
  let checked = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || element.closest("svg, script, style, option, noscript")) continue;
    if (!element.checkVisibility()) continue;
    checked += 1;
    const ground = groundOf(element);
    const text = over(rgba(getComputedStyle(element).color), ground);
    const [dark, bright] = [light(ground), light(text)].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${element.textContent.trim()}`);
  }
  return { found, checked };
}"""


@dataclass
class Visit:
    """A page that is open, and what a browser said and asked for meanwhile."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def boxes(self, kind: str, film: int) -> int:
        return self.page.locator(f".film >> nth={film} >> .picture svg g.{kind}").count()

    def count(self, film: int) -> str:
        return self.page.locator(".film .count").nth(film).inner_text()

    def unfold(self) -> None:
        self.page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = Path("/usr/bin/chromium")
    executable = path if path.exists() else shutil.which("chromium")
    if executable is None:
        message = "no chromium in /usr/bin or on PATH: the page can't be looked at"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    return browser.new_context()


@pytest.fixture
def visit(context: BrowserContext, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Open a page of some content, in windows of a width and of a colour scheme."""
    pages: list[Page] = []

    def opened(
        content: dict[str, Any] | None = None, *, width: int = 1100, scheme: str = "light"
    ) -> Visit:
        path = tmp_path / f"report{len(pages)}.html"
        path.write_text(render_report(made_content() if content is None else content))
        pages.append(context.new_page())
        visited = Visit(pages[-1], path.as_uri())
        visited.page.set_viewport_size({"width": width, "height": 844})
        visited.page.emulate_media(color_scheme=scheme)
        visited.page.on("request", lambda request: visited.requests.append(request.url))
        visited.page.on("pageerror", lambda error: visited.complaints.append(str(error)))
        visited.page.on("dialog", lambda dialog: visited.complaints.append(dialog.message))
        visited.page.on(
            "console",
            lambda message: (
                visited.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        visited.page.goto(visited.address)
        return visited

    yield opened
    for page in pages:
        page.close()


@pytest.mark.parametrize("state", ["done", "running", "begun"])
def test_page_asks_for_nothing_and_has_no_error(visit: Callable[..., Visit], state: str) -> None:
    is_running = state == "running"
    content = bare_content() if state == "begun" else made_content(running=is_running, drawn=True)
    visited = visit(content)
    visited.page.wait_for_load_state("networkidle")
    assert visited.requests == [visited.address]
    assert visited.complaints == []


def test_what_a_figure_asks_for_is_refused(visit: Callable[..., Visit]) -> None:
    picture = '<svg viewBox="0 0 9 9"><image href="http://127.0.0.1:9/x.png"/></svg>'
    content = made_content() | {"curves": [{"svg": picture, "caption": "from outside"}]}
    visited = visit(content)
    assert any("Content Security Policy" in complaint for complaint in visited.complaints)


def test_sections_stand_in_order_and_contents_lead_to_them(visit: Callable[..., Visit]) -> None:
    page = visit().page
    assert page.eval_on_selector_all("main > section", "all => all.map(one => one.id)") == _SECTIONS
    links = page.eval_on_selector_all("nav a", "all => all.map(one => one.hash.slice(1))")
    assert links == _SECTIONS
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_what_is_empty_is_left_out(visit: Callable[..., Visit]) -> None:
    page = visit(bare_content()).page
    assert page.locator("main > section, nav, dl, .caution").count() == 0
    assert page.locator("h1").inner_text() == "How few boxes do you need?"


@pytest.mark.parametrize("name", list(made_content()))
def test_content_that_lacks_a_name_is_refused(name: str) -> None:
    content = made_content()
    del content[name]
    with pytest.raises(UndefinedError, match=name):
        render_report(content)


def test_only_a_running_plan_loads_its_page_again(visit: Callable[..., Visit]) -> None:
    refresh = 'meta[http-equiv="refresh"]'
    running = visit(made_content(running=True)).page
    assert running.locator(refresh).get_attribute("content") == "20"
    banner = running.locator(".progress").inner_text()
    assert "12 of 40 jobs are done as of 2026-11-26T00:00:00+00:00, about 25 min left" in banner
    assert "random-50-seed2 failed: the loss is not finite at step 17 (nan)" in banner
    assert running.locator(".progress li progress").count() == 1
    stopped = made_content(running=True)
    stopped["progress"] |= {"is_running": False, "running": []}
    page = visit(stopped).page
    assert page.locator(refresh).count() == 0
    assert "The plan is not running" in page.locator(".progress").inner_text()
    done = visit().page
    assert done.locator(refresh).count() == 0
    assert done.locator(".progress").count() == 0


def test_a_page_that_loads_again_keeps_its_controls(visit: Callable[..., Visit]) -> None:
    visited = visit(made_content(running=True))
    visited.page.locator("#classes summary").click()
    visited.page.locator("nav a[href='#gallery']").click()
    visited.page.check("input[value=reader]")
    visited.page.select_option("#arm", "other-10")
    visited.page.fill("#score", "0.9")
    before = [visited.count(film) for film in range(3)]
    visited.page.reload()
    assert visited.page.input_value("#score") == "0.9"
    assert visited.page.locator("#least-score").inner_text() == "0.90"
    assert [visited.count(film) for film in range(3)] == before
    assert visited.page.locator("details[open]").count() == 1
    assert visited.page.locator("#classes table").is_visible()


def test_differences_apart_from_zero_are_marked_and_no_others(visit: Callable[..., Visit]) -> None:
    content = made_content()
    ends = [(0.001, 0.03), (-0.03, -0.001), (0.0, 0.02), (-0.01, 0.01), (None, None)]
    cells = content["table1"]["rows"][0]["cells"]
    for cell, (low, high) in zip(cells, ends, strict=True):
        cell |= {"value": 0.1, "delta": 0.0101, "delta_low": low, "delta_high": high, "p": 0.0304}
    row = visit(content).page.locator("#table-1 tbody tr:not(.group)").first
    texts = row.locator("td").all_inner_texts()
    assert [re.findall("[▲▼]", text) for text in texts] == [["▲"], ["▼"], [], [], []]
    assert all("+0.010" in text and "p = 0.030" in text for text in texts)
    assert "-0.030 to -0.001" in texts[1]
    assert "None" not in texts[4]


def test_paper_stands_beside_scores_only_where_it_has_any(visit: Callable[..., Visit]) -> None:
    content = made_content()
    cells = [cell for row in content["table1"]["rows"] for cell in row["cells"]]
    printed = sum(cell["paper"] is not None for cell in cells)
    assert 0 < printed < len(cells)
    assert visit(content).page.locator("#table-1 .paper").count() == printed
    content["table1"]["has_paper"] = False
    assert visit(content).page.locator("#table-1 .paper").count() == 0


def test_what_cannot_be_computed_is_a_dash(visit: Callable[..., Visit]) -> None:
    page = visit().page
    row = page.locator("#table-1 tbody tr", has_text="29 films").first
    assert row.locator("td").nth(2).inner_text().split() == ["paper", "0.003", "-"]


def test_a_transfer_that_did_not_arrive_is_said_and_unfolded(visit: Callable[..., Visit]) -> None:
    content = made_content()
    assert visit(content).page.locator("#transfers details[open]").count() == 0
    content["transfers"][2] |= {"arrived": False, "missing": 4}
    page = visit(content).page
    assert "1 of 8 did not arrive whole" in page.locator("#transfers .caution").inner_text()
    assert page.locator("#transfers td", has_text=re.compile("^NO$")).is_visible()


def test_slider_hides_what_scores_less(visit: Callable[..., Visit]) -> None:
    visited = visit()
    assert visited.page.locator("#least-score").inner_text() == "0.50"
    for least in (0.0, 0.5, 0.9, 1.0):
        visited.page.fill("#score", str(least))
        assert visited.page.locator("#least-score").inner_text() == f"{least:.2f}"
        for film, image in enumerate(made_content()["gallery"]["images"]):
            predictions = image["found"]["ssl-10"]
            above = sum(row[5] >= least for row in predictions)
            assert visited.boxes("prediction", film) == above
            assert visited.count(film).startswith(f"{above} of {len(predictions)} predictions")
            assert visited.boxes("consensus", film) == len(image["truth"])


def test_class_filter_leaves_that_class_and_its_films(visit: Callable[..., Visit]) -> None:
    visited = visit()
    visited.page.check("input[value=reader]")
    visited.page.fill("#score", "0")
    images = made_content()["gallery"]["images"]
    label = images[0]["truth"][0]["label"]
    visited.page.select_option("#class", str(label))
    for film, image in enumerate(images):
        true = sum(box["label"] == label for box in image["truth"])
        found = sum(row[4] == label for row in image["found"]["ssl-10"])
        drawn = sum(box["label"] == label for reader in image["readers"] for box in reader["boxes"])
        counts = [visited.boxes(kind, film) for kind in ("consensus", "prediction", "reader")]
        assert counts == [true, found, drawn]
        assert visited.page.locator(".film").nth(film).is_visible() == (true + found + drawn > 0)
    labels = visited.page.eval_on_selector_all(
        ".picture svg g", "all => all.map(one => one.dataset.label)"
    )
    assert set(labels) == {str(label)}
    visited.page.select_option("#class", "")
    assert visited.page.locator(".film:visible").count() == 3


def test_arm_changes_predictions_and_nothing_else(visit: Callable[..., Visit]) -> None:
    visited = visit()
    visited.page.select_option("#arm", "other-10")
    for film, image in enumerate(made_content()["gallery"]["images"]):
        rows = [row for row in image["found"]["other-10"] if row[5] >= 0.5]
        groups = visited.page.locator(f".film >> nth={film} >> svg g.prediction rect.line")
        edges = groups.evaluate_all("all => all.map(one => Number(one.getAttribute('x')))")
        assert sorted(edges) == sorted(row[0] for row in rows)
        assert visited.boxes("consensus", film) == len(image["truth"])


def test_checkboxes_hide_kinds_of_boxes(visit: Callable[..., Visit]) -> None:
    visited = visit()
    for kind in ("consensus", "reader", "prediction"):
        box = visited.page.locator(f"input[name=layer][value={kind}]")
        assert box.is_checked() == (kind != "reader")
        box.check()
        shown = visited.boxes(kind, 0)
        assert shown > 0
        assert visited.page.locator(f".film >> nth=0 >> .tag.{kind}").count() == shown
        box.uncheck()
        assert visited.boxes(kind, 0) == 0
        assert visited.page.locator(f".film >> nth=0 >> .tag.{kind}").count() == 0
    assert visited.count(0) == "no boxes"


def test_boxes_lie_where_they_are_in_the_picture(visit: Callable[..., Visit]) -> None:
    content = made_content()
    image = content["gallery"]["images"][0]
    image |= {"width": 200, "height": 100, "readers": []}
    image["truth"] = [{"box": [20, 10, 120, 60], "label": 0, "support": 2}]
    page = visit(content).page
    picture = page.locator(".film >> nth=0 >> .picture").bounding_box()
    drawn = page.locator(".film >> nth=0 >> g.consensus rect.line").bounding_box()
    assert picture is not None
    assert drawn is not None
    # A browser counts the stroke to the box.
    for edge, side, fraction in (("x", "width", 0.1), ("y", "height", 0.1)):
        start = (drawn[edge] - picture[edge]) / picture[side]
        assert start == pytest.approx(fraction, abs=0.01)
    assert drawn["width"] / picture["width"] == pytest.approx(0.5, abs=0.02)
    assert drawn["height"] / picture["height"] == pytest.approx(0.5, abs=0.02)
    assert page.locator(".film >> nth=0 >> .tag.consensus").inner_text() == "Aortic enlargement · 2"


def test_names_at_boxes_stay_apart_and_in_the_picture(visit: Callable[..., Visit]) -> None:
    page = visit().page
    edges = """all => all.map(one => one.getBoundingClientRect()).map(
        (edge) => [edge.left, edge.top, edge.right, edge.bottom])"""
    for width in (1100, 390):
        page.set_viewport_size({"width": width, "height": 844})
        # The films' new sizes are told to the script between two frames.
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
        for film in page.locator(".picture").all():
            [around] = film.evaluate_all(edges)
            tags = film.locator(".tag").evaluate_all(edges)
            assert tags
            for x0, y0, x1, y1 in tags:
                assert around[0] - 1 <= x0 < x1 <= around[2] + 1
                assert around[1] - 1 <= y0 < y1 <= around[3] + 1
            for first, second in combinations(tags, 2):
                beside = first[2] <= second[0] + 0.5 or second[2] <= first[0] + 0.5
                below = first[3] <= second[1] + 0.5 or second[3] <= first[1] + 0.5
                assert beside or below


def test_controls_stay_while_films_scroll_by(visit: Callable[..., Visit]) -> None:
    page = visit(width=390).page
    page.locator(".film").nth(2).evaluate("one => one.scrollIntoView({block: 'center'})")
    controls = page.locator("#controls").bounding_box()
    assert controls is not None
    assert 0 <= controls["y"] < 20
    assert controls["height"] < 844 / 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1100])
def test_nothing_is_cut_off_and_all_text_can_be_read(
    visit: Callable[..., Visit], width: int, scheme: str
) -> None:
    visited = visit(made_content(running=True, drawn=True), width=width, scheme=scheme)
    visited.page.check("input[value=reader]")
    visited.unfold()
    widths = visited.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == width
    ground = visited.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    text = visited.page.evaluate(_FAINT_TEXT)
    assert text["checked"] > 500
    assert text["found"] == []


def test_first_column_stays_while_a_table_scrolls(visit: Callable[..., Visit]) -> None:
    page = visit(width=390).page
    box = page.locator("#table-1 .scroll")
    assert box.evaluate("one => one.scrollWidth > one.clientWidth")
    box.evaluate("one => one.scrollTo(1e4, 0)")
    place = page.locator("#table-1 tbody th[scope=row]").first.bounding_box()
    around = box.bounding_box()
    assert place is not None
    assert around is not None
    assert place["x"] == pytest.approx(around["x"], abs=1)


def test_every_control_has_a_name(visit: Callable[..., Visit]) -> None:
    page = visit(made_content(running=True)).page
    controls = page.locator("input, select, progress").all()
    assert len(controls) == 8
    for control in controls:
        named = control.evaluate("one => one.ariaLabel || [...one.labels].map(l => l.innerText)[0]")
        assert named


def _hostile(value: Any, key: str = "") -> Any:  # noqa: ANN401 - whatever content holds
    """Return content whose every text ends as markup, but for figures and what ties it together."""
    if isinstance(value, dict):
        return {name: _hostile(entry, name) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_hostile(entry, key) for entry in value]
    is_text = isinstance(value, str) and key not in ("svg", "src", "figure", "key")
    return value + _HOSTILE if is_text else value


def test_text_of_others_stays_text(visit: Callable[..., Visit]) -> None:
    visited = visit(_hostile(made_content(running=True)))
    visited.unfold()
    visited.page.check("input[value=reader]")
    visited.page.select_option("#class", "3")
    assert visited.complaints == []
    assert visited.requests == [visited.address]
    assert visited.page.locator("script").count() == 2
    assert visited.page.locator("img").count() == 3
    for place in (".film .name", ".film .tag.consensus", ".film .tag.reader", "h1", "#class"):
        assert _HOSTILE in visited.page.locator(place).first.inner_text()
    assert _HOSTILE in visited.page.title()


def test_without_scripts_the_images_are_there(
    browser: Browser, visit: Callable[..., Visit]
) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(visit().address)
    note = page.locator("noscript p")
    assert "The boxes are drawn by a script" in note.inner_text()
    assert note.bounding_box() is not None
    assert all(image.is_visible() for image in page.locator(".film img").all())
    assert not page.locator("#controls").is_visible()
    assert visit().page.locator("noscript p").count() == 0


def test_print_is_light_unfolded_and_without_controls(visit: Callable[..., Visit]) -> None:
    page = visit(scheme="dark").page
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
            window.folded = document.querySelectorAll("details:not([open])").length;
        })"""
    )
    before = page.locator("details:not([open])").count()
    page.pdf()
    assert page.evaluate("window.folded") == 0
    assert page.locator("details:not([open])").count() == before == 5
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#controls").is_visible()
    assert page.locator(".film .tag").first.is_visible()
