"""Detections drawn on a radiograph: every name can be read, and says which box it means."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor

from cxrssl.drawing import overlay
from cxrssl.drawing.overlay import write_overlay
from cxrssl.drawing.tags import Rect, placed_tags
from cxrssl.predict.found import Finding

CLASSES = [f"Class {i}" for i in range(22)]
SIDE = 1200

Box = tuple[float, float, float, float]


@st.composite
def boxes_of_a_picture(draw: st.DrawFn) -> list[Box]:
    """Up to 40 boxes; some reach out of the picture, some are empty, some lie in one place."""
    edge = st.floats(-50, SIDE + 50)
    corners = draw(st.lists(st.tuples(edge, edge, edge, edge), min_size=1, max_size=20))
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    return boxes + [boxes[0]] * draw(st.integers(0, 40 - len(boxes)))


def drawn(
    folder: Path,
    findings: list[Finding],
    *,
    pixels: NDArray[np.uint8] | None = None,
    title: str = "one.dcm",
) -> NDArray[np.uint8]:
    if pixels is None:
        pixels = np.full((SIDE, SIDE), 90, np.uint8)
    write_overlay(folder / "one.png", pixels, findings, classes=CLASSES, title=title)
    with Image.open(folder / "one.png") as image:
        return np.asarray(image)


def meet(first: Rect, second: Rect) -> bool:
    return all(first[i] < second[i + 2] and second[i] < first[i + 2] for i in (0, 1))


def has_colour(picture: NDArray[np.uint8], colour: str) -> bool:
    return bool((picture == ImageColor.getrgb(colour)).all(axis=2).any())


@settings(max_examples=60, deadline=None)
@given(boxes=boxes_of_a_picture(), tag_width=st.integers(40, 260))
def test_every_box_has_a_tag_inside_the_picture_that_meets_no_other(
    boxes: list[Box], tag_width: int
) -> None:
    sizes = [(tag_width + 7 * (i % 5), 28) for i in range(len(boxes))]
    tags = placed_tags(boxes, sizes, width=SIDE, height=SIDE)
    assert len(tags) == len(boxes)
    placed = [tag for tag in tags if tag is not None]
    assert [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in placed] == sizes
    assert all(min(tag) >= 0 and max(tag) <= SIDE for tag in placed)
    assert not any(meet(first, second) for first, second in combinations(placed, 2))


def test_a_lone_box_has_its_tag_on_its_top_edge() -> None:
    assert placed_tags([(200, 300, 400, 500)], [(90, 20)], width=800, height=800) == [
        (200, 280, 290, 300)
    ]


@pytest.mark.parametrize(
    "box",
    [(0, 0, 60, 40), (560, 0, 600, 50), (560, 560, 600, 600), (0, 580, 30, 600), (0, 0, 600, 600)],
)
def test_a_box_at_the_border_is_tagged_inside_and_touches_its_tag(box: Box) -> None:
    (tag,) = placed_tags([box], [(120, 20)], width=600, height=600)
    assert tag is not None
    assert 0 <= tag[0] < tag[2] <= 600
    assert 0 <= tag[1] < tag[3] <= 600
    assert all(tag[i] <= box[i + 2] and box[i] <= tag[i + 2] for i in (0, 1))


def test_a_tag_hides_no_small_box_beside_its_own() -> None:
    mass, nodule = (300.0, 300.0, 400.0, 400.0), (310.0, 282.0, 330.0, 298.0)
    tag, _ = placed_tags([mass, nodule], [(90, 20)] * 2, width=800, height=800)
    assert tag is not None
    assert not meet(tag, (310, 282, 330, 298))


def test_a_tag_is_left_out_only_when_no_place_is_left() -> None:
    tags = placed_tags([(10, 10, 20, 20)] * 3, [(100, 40)] * 3, width=100, height=110)
    assert [tag is None for tag in tags] == [False, False, True]


def test_no_two_classes_of_22_look_the_same() -> None:
    assert len({overlay._style(i) for i in range(22)}) == 22


def test_a_class_has_its_own_colour_in_every_picture(tmp_path: Path) -> None:
    box, other = (300.0, 300.0, 700.0, 700.0), (800.0, 800.0, 1000.0, 1000.0)
    alone = drawn(tmp_path, [Finding(box, "Class 5", 0.5)])
    crowd = [Finding(other, f"Class {i}", 0.9) for i in (0, 4)]
    beside = drawn(tmp_path, [*crowd, Finding(box, "Class 5", 0.5)])
    # On the box's left side, half way down.
    assert alone[500, 300].tolist() == beside[500, 300].tolist()
    assert tuple(alone[500, 300]) == ImageColor.getrgb(overlay._style(5).colour)
    assert beside[900, 800].tolist() != alone[500, 300].tolist()


def test_the_stronger_of_two_boxes_in_one_place_is_on_top(tmp_path: Path) -> None:
    box = (300.0, 300.0, 700.0, 700.0)
    strong, weak = Finding(box, "Class 1", 0.8), Finding(box, "Class 2", 0.3)
    for findings in ([strong, weak], [weak, strong]):
        picture = drawn(tmp_path, findings)
        assert tuple(picture[500, 300]) == ImageColor.getrgb(overlay._style(1).colour)


def test_a_box_lies_where_it_is_on_an_image_that_was_enlarged(tmp_path: Path) -> None:
    finding = Finding((100, 50, 200, 250), "Class 1", 0.8)
    picture = drawn(tmp_path, [finding], pixels=np.zeros((300, 400), np.uint8))
    marked = (picture[:900, :1200] == ImageColor.getrgb(overlay._style(1).colour)).all(axis=2)
    # Threefold; half way down the box its two sides are all there is.
    columns = np.flatnonzero(marked[450])
    assert columns.tolist() == [299, 300, 301, 599, 600, 601]


def test_no_findings_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no findings above the threshold" in texts_drawn(tmp_path, [], monkeypatch)


def test_classes_found_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding((10, 10 + i, 90, 90), "Class 7", 0.5) for i in range(3)]
    texts = texts_drawn(tmp_path, findings, monkeypatch)
    assert {"one.dcm", "3 findings", "Class 7", "3"} <= set(texts)
    assert "Class 6" not in texts


def test_what_is_not_named_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = [Finding((0, 15 * i, 300, 15 * i + 9), "Class 7", 0.01 * i) for i in range(70)]
    texts = texts_drawn(tmp_path, spread, monkeypatch)
    assert "60 of 70 boxes are named" in " ".join(texts)
    assert "Class 7 0.69" in texts
    assert "Class 7 0.09" not in texts


def texts_drawn(
    folder: Path, findings: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """All texts that were written on the picture."""
    texts: list[str] = []
    write = overlay.ImageDraw.ImageDraw.text

    def recording(self: object, xy: object, text: str, **looks: object) -> None:
        texts.append(text)
        write(self, xy, text, **looks)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(overlay.ImageDraw.ImageDraw, "text", recording)
        drawn(folder, findings)
    return texts


@pytest.mark.parametrize("shape", [(320, 320), (64, 300), (4000, 3000), (1300, 1100)])
def test_the_long_side_of_any_image_becomes_1000_to_1600_pixels(shape: tuple[int, int]) -> None:
    size = overlay._resampled(np.zeros(shape, np.uint8)).size
    assert 1000 <= max(size) <= 1600
    assert size[0] / size[1] == pytest.approx(shape[1] / shape[0], rel=0.01)


def test_nothing_of_the_image_lies_under_the_legend(tmp_path: Path) -> None:
    finding = Finding((1100, 10, 1300, 400), "Class 3", 0.7)
    dark = drawn(tmp_path, [finding], pixels=np.zeros((SIDE, SIDE), np.uint8))
    bright = drawn(tmp_path, [finding], pixels=np.full((SIDE, SIDE), 255, np.uint8))
    assert dark.shape[1] > SIDE
    # The outline's halo may reach a pixel or two past the image.
    np.testing.assert_array_equal(dark[:, SIDE + 4 :], bright[:, SIDE + 4 :])
    assert (dark[:, :SIDE] != bright[:, :SIDE]).any()


def test_the_image_keeps_its_greys_where_nothing_is_drawn(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    picture = drawn(tmp_path, [Finding((300, 300, 700, 700), "Class 3", 0.7)], pixels=pixels)
    np.testing.assert_array_equal(
        picture[310:690, 310:690], pixels[310:690, 310:690, None] + [0] * 3
    )


def test_the_png_says_nothing_but_its_pixels(tmp_path: Path) -> None:
    drawn(tmp_path, [Finding((3, 3, 90, 90), "Class 0", 0.7)], title="patient name.dcm")
    content = (tmp_path / "one.png").read_bytes()
    kinds, at = set(), 8
    while at < len(content):
        kinds.add(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def test_a_picture_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    before = drawn(tmp_path, [])
    with pytest.raises(ValueError, match="Something else"):
        drawn(tmp_path, [Finding((3, 3, 90, 90), "Something else", 0.7)])
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), before)


@pytest.mark.parametrize("title", ["", "x" * 300, "line\nbreak.dcm", "bad\udcff.dcm", "a b " * 90])
def test_any_title_stays_in_the_legend(tmp_path: Path, title: str) -> None:
    picture = drawn(tmp_path, [], title=title)
    margin = picture[:, -10:].reshape(-1, 3)
    assert (margin == ImageColor.getrgb(overlay._PANEL)).all()


def test_a_long_name_is_broken_where_it_can_be() -> None:
    font = overlay.ImageFont.load_default(size=20)
    lines = overlay._wrapped("Enlarged cardiomediastinum/hilus", font, 230, 2)
    assert lines == ["Enlarged", "cardiomediastinum/hilus"]


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    font = overlay.ImageFont.load_default(size=20)
    (line,) = overlay._wrapped("Enlarged cardiomediastinum", font, 150, 1)
    assert line.endswith("…")
    assert font.getlength(line) <= 150
