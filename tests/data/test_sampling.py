"""Batches as a function of (seed, epoch, step), and repeat factors by the paper's formula."""

import tracemalloc

import numpy as np
import pytest

from cxrssl.data.sampling import BatchPlan, Visit, repeat_factors


def plan(num_images: int = 10, **changes: object) -> BatchPlan:
    settings = {"batch_size": 4, "num_epochs": 3, "seed": 1} | changes
    return BatchPlan(num_images, **settings)  # type: ignore[arg-type]


def test_an_epoch_covers_every_image_and_epochs_differ() -> None:
    full = plan()
    assert sorted(full.order(0).tolist()) == list(range(10))
    assert full.order(0).tolist() != full.order(1).tolist()


def test_a_run_that_goes_on_has_the_batches_it_would_have_had() -> None:
    full = plan().batches()
    assert len(full) == plan().num_steps == 9
    for step in range(10):
        assert list(plan().batches(from_step=step)) == full[step:]


def test_a_short_last_batch_is_filled_from_its_own_epoch_or_left_out() -> None:
    filled = plan().batches()
    assert [len(batch) for batch in filled] == [4] * 9
    assert {visit.epoch for visit in filled[2]} == {0}
    assert plan(drop_last=True).num_steps == 6


def test_processes_share_out_the_same_global_batch() -> None:
    full = plan().batches()
    slices = [plan().batches(rank=rank, num_processes=2) for rank in (0, 1)]
    for batch, first, second in zip(full, *slices, strict=True):
        assert sorted(first + second) == sorted(batch)
        assert len(first) == len(second) == 2


def test_epochs_and_steps_agree_with_the_batches() -> None:
    for step in range(9):
        epochs = plan().epochs(from_step=step)
        assert plan().batches(from_step=step)[0][0] == Visit(
            epochs[0], plan().batches()[step][0].row
        )
        assert plan().steps_of(epochs[0], from_step=step)[0] == step
    assert list(plan().epochs(from_step=9)) == []


@pytest.mark.parametrize(("most", "epochs"), [(1, 1), (3, 1), (4, 2), (9, 3), (10, 3)])
def test_a_run_of_at_most_so_many_steps_is_the_beginning_of_the_whole(
    most: int, epochs: int
) -> None:
    cut = plan(max_steps=most)
    assert cut.num_epochs == epochs
    assert cut.num_steps == min(most, 9)
    assert list(cut.batches()) == plan().batches()[:most]
    assert [step for epoch in range(epochs) for step in cut.steps_of(epoch)] == list(
        range(cut.num_steps)
    )


def test_another_seed_gives_another_order() -> None:
    assert list(plan().batches()) != list(plan(seed=2).batches())


def test_repeat_factor_is_that_of_the_rarest_class() -> None:
    labels = [np.array([0]), np.array([0, 1]), np.array([0]), np.array([], dtype=np.int64)]
    # class 0 in 3/4 of the images, class 1 in 1/4: sqrt(0.5 / 0.25)
    assert repeat_factors(labels, threshold=0.5).tolist() == pytest.approx([1, 2**0.5, 1, 1])


def test_repeat_factors_are_met_on_average() -> None:
    factors = np.array([1.0, 1.5, 2.25])
    full = BatchPlan(3, batch_size=1, num_epochs=400, seed=0, factors=factors)
    counts = sum(np.bincount(full.order(epoch), minlength=3) for epoch in range(400)) / 400
    assert counts == pytest.approx(factors, abs=0.08)
    assert full.num_steps == sum(len(full.order(epoch)) for epoch in range(400))


def test_rounding_up_repeats_every_image_by_the_next_whole_number() -> None:
    factors = np.array([1.0, 1.2, 2.5])
    full = BatchPlan(3, batch_size=1, num_epochs=2, seed=0, factors=factors, rounding="ceil")
    for epoch in (0, 1):
        assert np.bincount(full.order(epoch)).tolist() == [1, 2, 3]
    assert full.num_steps == 12


def test_repeats_of_an_image_in_an_epoch_are_numbered_and_others_are_not() -> None:
    factors = np.array([1.0, 3.0, 2.0, 1.0])
    settings = {"batch_size": 3, "num_epochs": 2, "seed": 0}
    full = BatchPlan(4, factors=factors, **settings)  # type: ignore[arg-type]
    for epoch in (0, 1):
        visits = full.visits(epoch)
        assert [visit.row for visit in visits] == full.order(epoch).tolist()
        numbers: dict[int, list[int]] = {}
        for visit in visits:
            numbers.setdefault(visit.row, []).append(visit.repeat)
        assert numbers == {0: [0], 1: [0, 1, 2], 2: [0, 1], 3: [0]}
    once = BatchPlan(10, **settings)  # type: ignore[arg-type]
    assert {visit.repeat for batch in once.batches() for visit in batch} == {0}


def test_batches_that_go_on_have_the_repeats_they_would_have_had() -> None:
    full = plan(factors=np.full(10, 2.5))
    for step in (0, 3, 7, full.num_steps - 1):
        again = plan(factors=np.full(10, 2.5)).batches(from_step=step)
        assert list(again) == list(full.batches())[step:]


def test_batches_are_a_sequence_that_holds_none_of_them() -> None:
    short = plan(max_steps=7)
    batches = short.batches(from_step=2, rank=1, num_processes=2)
    listed = list(batches)
    assert len(batches) == len(listed) == 5
    assert [batches[place] for place in range(5)] == listed
    assert batches[-1] == listed[-1]
    assert batches[1:4:2] == listed[1:4:2]
    with pytest.raises(IndexError):
        batches[5]
    assert list(short.batches(from_step=7)) == []
    tracemalloc.start()
    held = plan(15_000, num_epochs=20).batches()
    assert len(held) == 75_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6  # 30 MB where they are listed
