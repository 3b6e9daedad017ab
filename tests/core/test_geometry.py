"""Affine maps of boxes and pixels, against torchvision's transforms."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from cxrssl.core.boxes import flipped
from cxrssl.core.geometry import Geometry, clipped, identity, mirror, turned
from cxrssl.core.pixels import warped

BOXES = np.array([[10.5, 20.25, 60.0, 80.0], [100.0, 5.0, 150.0, 40.0]], np.float32)
WIDTH, HEIGHT = 200, 160


def geometry(scale: float, degrees: float, shift: tuple[float, float]) -> Geometry:
    return turned(
        scale=scale, rotation_degrees=degrees, centre=(WIDTH / 2, HEIGHT / 2), shift_px=shift
    )


def reference_boxes(scale: float, degrees: float, shift: tuple[int, int]) -> np.ndarray:
    boxes = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=(10_000, 10_000))  # type: ignore[call-overload]
    # A canvas far larger than the image: torchvision would cut boxes to it.
    moved = reference.affine_bounding_boxes(  # type: ignore[attr-defined]
        boxes.as_subclass(torch.Tensor) + 3000,
        format=tv_tensors.BoundingBoxFormat.XYXY,
        canvas_size=(10_000, 10_000),
        angle=degrees,
        translate=list(shift),
        scale=scale,
        shear=[0.0, 0.0],
        center=[WIDTH / 2 + 3000, HEIGHT / 2 + 3000],
    )
    moved = moved[0] if isinstance(moved, tuple) else moved
    return moved.numpy() - 3000


@pytest.mark.parametrize(
    ("scale", "degrees", "shift"),
    [(1.0, 0.0, (0, 0)), (0.7, 0.0, (9, -4)), (1.4, 10.0, (0, 0)), (1.1, -33.0, (-7, 12))],
)
def test_boxes_are_torchvisions_hulls(scale: float, degrees: float, shift: tuple[int, int]) -> None:
    moved = geometry(scale, degrees, shift).boxes(BOXES)
    assert np.allclose(moved, reference_boxes(scale, degrees, shift), atol=1e-3)
    assert moved.dtype == np.float32


def test_pixels_are_torchvisions() -> None:
    ramp = np.random.default_rng(0).normal(size=(10, 12))
    coarse = torch.from_numpy(ramp)[None, None].float()
    smooth = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")[0]
    film = (127 + 40 * smooth).clamp(0, 255).round()
    pixels = film[0].numpy().astype(np.uint8)
    result = warped(pixels, geometry(1.2, 7.0, (5, -3)))
    expected = reference.affine(
        film,
        angle=7.0,
        translate=[5, -3],
        scale=1.2,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        center=[WIDTH / 2, HEIGHT / 2],
    )
    inside = (slice(10, -10), slice(10, -10))
    assert np.abs(result[inside] - expected[0].numpy()[inside]).max() <= 1.5


def test_a_box_moves_with_what_is_in_it() -> None:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[60:90, 80:120] = 255
    one = geometry(1.3, 0.0, (12, -9))
    rows, columns = np.nonzero(warped(pixels, one) > 127)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.allclose(one.boxes(np.array([[80, 60, 120, 90]])), found, atol=1.0)


def test_a_map_its_inverse_and_the_mirror() -> None:
    one, other = geometry(0.8, 12.0, (3, 4)), mirror(width_px=WIDTH)
    points = np.array([[0.0, 0.0], [17.0, 140.5]])
    assert np.allclose(one.inverse().points(one.points(points)), points)
    assert np.allclose(other.after(one).points(points), other.points(one.points(points)))
    assert np.allclose(other.boxes(BOXES), flipped(BOXES, width_px=WIDTH))
    assert np.array_equal(identity().boxes(BOXES), BOXES)
    turned_left_to_right = warped(np.arange(12, dtype=np.uint8).reshape(3, 4), mirror(width_px=4))
    assert np.array_equal(turned_left_to_right, np.arange(12).reshape(3, 4)[:, ::-1])


def test_boxes_are_cut_to_an_image() -> None:
    boxes = np.array([[-5, 10, 30, 500]], np.float32)
    assert clipped(boxes, width_px=20, height_px=100).tolist() == [[0, 10, 20, 100]]
