"""The sparse RoIAlign pools what torchvision's does, and hands the same gradient back."""

from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from cxrssl.models.sparse_roi_align import SparseMultiScaleRoIAlign

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
STRIDES = (4, 8, 16, 32)
NO_BOX = torch.zeros(0, 4)
Size = tuple[int, int]


def maps(
    size: Size, *, batch: int = 2, channels: int = 3, strides: tuple[int, ...] = STRIDES
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        str(level): torch.randn(
            batch, channels, *(ceil(side / stride) for side in size), generator=generator
        )
        for level, stride in enumerate(strides)
    }


def random_boxes(size: Size, number: int, *, seed: int = 0) -> Tensor:
    """Boxes of all sizes, about a third of them across the image's border or outside."""
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1], size[0]])
    middle = (torch.rand(number, 2, generator=generator) * 1.4 - 0.2) * extent
    side = torch.exp(torch.rand(number, 2, generator=generator) * 6)
    return torch.cat((middle - side / 2, middle + side / 2), 1)


def pooled(
    pool: MultiScaleRoIAlign, features: dict[str, Tensor], boxes: list[Tensor], size: Size
) -> tuple[Tensor, list[Tensor]]:
    """Return the pooled boxes and the features' gradients for a fixed random one of the output."""
    leaves = {name: feature.detach().requires_grad_() for name, feature in features.items()}
    result = pool(leaves, boxes, [size] * len(boxes))
    weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    used = [leaves[name] for name in leaves if name in pool.featmap_names]
    return result.detach(), list(torch.autograd.grad((result * weight).sum(), used))


def assert_equal_pooling(
    features: dict[str, Tensor],
    boxes: list[Tensor],
    size: Size,
    *,
    names: tuple[str, ...] = ("0", "1", "2", "3"),
    output: int | Size = 7,
    samples: int = 2,
) -> Tensor:
    theirs, ours = (
        pooled(kind(list(names), output, samples), features, boxes, size)
        for kind in (MultiScaleRoIAlign, SparseMultiScaleRoIAlign)
    )
    atol = TOLERANCE[features[names[0]].dtype]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    return ours[0]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(33, 200), st.integers(33, 200)),
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    output=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    samples=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels_last=st.booleans(),
)
def test_pooling_and_gradient_equal_torchvisions(
    seed: int,
    size: Size,
    counts: list[int],
    output: Size,
    samples: int,
    dtype: torch.dtype,
    channels_last: bool,
) -> None:
    memory = torch.channels_last if channels_last else torch.contiguous_format
    features = {
        name: feature.to(dtype, memory_format=memory)
        for name, feature in maps(size, batch=len(counts)).items()
    }
    boxes = [
        random_boxes(size, count, seed=seed + image).to(dtype) for image, count in enumerate(counts)
    ]
    assert_equal_pooling(features, boxes, size, output=output, samples=samples)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((-30.0, -20.3, 25.1, 31.7), id="across the upper left corner"),
        pytest.param((70.2, 90.4, 130.9, 140.6), id="across the lower right corner"),
        pytest.param((-90.0, -90.0, -40.0, -50.0), id="outside above"),
        pytest.param((300.0, 20.0, 350.0, 60.0), id="outside to the right"),
        pytest.param((-500.0, -500.0, 700.0, 700.0), id="around the whole image"),
        pytest.param((20.3, 30.1, 20.9, 30.4), id="below a pixel of its level"),
        pytest.param((20.3, 30.1, 20.3, 70.4), id="without width"),
        pytest.param((20.3, 30.1, 20.3, 30.1), id="a point"),
        pytest.param((0.0, 0.0, 101.0, 123.0), id="the image"),
        pytest.param((60.0, 30.0, 20.0, 80.0), id="of negative area"),
        pytest.param((60.0, 80.0, 20.0, 30.0), id="of two negative sides"),
    ],
)
def test_a_box_that_is_no_ordinary_one_is_pooled_as_by_torchvision(box: tuple[float, ...]) -> None:
    size = (123, 101)
    assert_equal_pooling(maps(size, batch=1), [torch.tensor([box])], size)


def test_a_box_of_nan_is_pooled_to_zeros() -> None:
    pool = SparseMultiScaleRoIAlign(["0"], 7, 2)
    result = pool(maps((64, 64), batch=1), [torch.full((1, 4), torch.nan)], [(64, 64)])
    assert torch.equal(result, torch.zeros(1, 3, 7, 7))


def test_a_single_level_takes_boxes_of_every_size() -> None:
    size = (123, 101)
    boxes = [random_boxes(size, 20), random_boxes(size, 20, seed=1)]
    for memory in (torch.contiguous_format, torch.channels_last):
        features = maps(size, strides=(8,))
        features["0"] = features["0"].contiguous(memory_format=memory)
        assert_equal_pooling(features, boxes, size, names=("0",))


def test_maps_that_are_not_named_are_left_out() -> None:
    size = (160, 128)
    boxes = [random_boxes(size, 20), random_boxes(size, 20, seed=1)]
    assert_equal_pooling(maps(size), boxes, size, names=("1", "2"))


def test_no_boxes_at_all_give_an_empty_result_and_a_gradient_of_zeros() -> None:
    features = maps((96, 128))
    result, grads = pooled(
        SparseMultiScaleRoIAlign(list(features), 7, 2), features, [NO_BOX, NO_BOX], (96, 128)
    )
    assert result.shape == (0, 3, 7, 7)
    assert all(
        torch.equal(grad, torch.zeros_like(feature))
        for grad, feature in zip(grads, features.values(), strict=True)
    )


def test_boxes_get_no_gradient() -> None:
    boxes = random_boxes((64, 64), 3).requires_grad_()
    pool = SparseMultiScaleRoIAlign(["0"], 7, 2)
    assert not pool(maps((64, 64), batch=1), [boxes], [(64, 64)]).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_features_are_summed_in_float32_and_returned_as_they_came(dtype: torch.dtype) -> None:
    size = (123, 101)
    half = {name: feature.to(dtype) for name, feature in maps(size).items()}
    exact = {name: feature.float() for name, feature in half.items()}
    boxes = [random_boxes(size, 9), random_boxes(size, 9, seed=1)]
    pool = SparseMultiScaleRoIAlign(list(half), 7, 2)
    result, grads = pooled(pool, half, boxes, size)
    assert {value.dtype for value in (result, *grads)} == {dtype}
    assert torch.equal(result, pooled(pool, exact, boxes, size)[0].to(dtype))


def test_autocast_changes_nothing() -> None:
    size = (123, 101)
    boxes = [random_boxes(size, 9), random_boxes(size, 9, seed=1)]
    features = maps(size)
    pool = SparseMultiScaleRoIAlign(list(features), 7, 2)
    plain = pooled(pool, features, boxes, size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(pooled(pool, features, boxes, size), plain, rtol=0, atol=0)


def test_inference_gives_the_numbers_of_training() -> None:
    size = (123, 101)
    boxes = [random_boxes(size, 9), random_boxes(size, 9, seed=1)]
    features = maps(size)
    pool = SparseMultiScaleRoIAlign(list(features), 7, 2)
    with torch.inference_mode():
        result = pool.eval()(features, boxes, [size] * 2)
    assert torch.equal(result, pooled(pool.train(), features, boxes, size)[0])


def test_scales_come_from_the_largest_image_of_the_batch() -> None:
    features = maps((128, 160))
    boxes = [random_boxes((100, 160), 9), random_boxes((128, 90), 9, seed=1)]
    shapes = [(100, 160), (128, 90)]
    names = list(features)
    theirs = MultiScaleRoIAlign(names, 7, 2)(features, boxes, shapes)
    ours = SparseMultiScaleRoIAlign(names, 7, 2)(features, boxes, shapes)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_features_off_the_cpu_go_to_torchvisions_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MultiScaleRoIAlign, "forward", lambda *_: "torchvision's")
    features = {"0": torch.zeros(1, 3, 16, 16, device="meta")}
    assert SparseMultiScaleRoIAlign(["0"], 7, 2)(features, [NO_BOX], [(64, 64)]) == "torchvision's"


def test_boxes_of_more_images_than_the_maps_have_are_refused() -> None:
    with pytest.raises(ValueError, match="2 lists of boxes for 1 images"):
        SparseMultiScaleRoIAlign(["0"], 7, 2)(
            maps((64, 64), batch=1), [NO_BOX, NO_BOX], [(64, 64)] * 2
        )
