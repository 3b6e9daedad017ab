"""What order a run visits its images in: every batch is a function of (seed, epoch, step) alone.

So a run that was killed goes on with the batch it would have had, whatever the number of workers,
and each process takes its own slice of the same global batch.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

Rounding = Literal["stochastic", "ceil"]


class Visit(NamedTuple):
    """One image in one batch: enough to derive all of its randomness.

    `repeat` counts from 0 how often the epoch has had the image before, where it is repeated.
    """

    epoch: int
    row: int
    repeat: int = 0


def in_order(num_images: int, batch_size: int) -> list[list[Visit]]:
    """Return batches that visit every image once, in order; the last may be smaller."""
    visits = [Visit(0, row) for row in range(num_images)]
    return [visits[i : i + batch_size] for i in range(0, num_images, batch_size)]


def repeat_factors(
    labels_per_image: Sequence[NDArray[np.integer]], *, threshold: float
) -> NDArray[np.float64]:
    """Return how often each image should be seen an epoch, [N] float64, >= 1.

    An image counts as much as its rarest class: r = max over its classes of sqrt(threshold / f),
    where f is the fraction of images that hold the class. An image without boxes counts 1.

    Source: LVIS, arXiv 1908.03195, appendix B.2; the paper's threshold is 0.4.
    """
    present = [np.unique(labels) for labels in labels_per_image]
    all_labels = np.concatenate(present) if present else np.empty(0, np.int64)
    classes, counts = np.unique(all_labels, return_counts=True)
    factor = {
        int(label): max(1.0, float(np.sqrt(threshold / (count / len(present)))))
        for label, count in zip(classes, counts, strict=True)
    }
    return np.array([max((factor[int(c)] for c in labels), default=1.0) for labels in present])


class BatchPlan:
    """All batches of a run, in order, without holding them.

    Attributes:
        num_epochs: Epochs in all, the last of them perhaps cut short.
        num_steps: Optimizer steps in all.
    """

    def __init__(
        self,
        num_images: int,
        *,
        batch_size: int,
        num_epochs: int,
        seed: int,
        max_steps: int | None = None,
        factors: NDArray[np.float64] | None = None,
        rounding: Rounding = "stochastic",
        drop_last: bool = False,
    ) -> None:
        """Plan `num_epochs` over `num_images` rows.

        Args:
            num_images: Number of rows to visit.
            batch_size: Images in a global batch, over all processes.
            num_epochs: Number of epochs.
            seed: Seed of the run.
            max_steps: Limit of optimizer steps, >= 1; None for `num_epochs` alone.
            factors: [num_images] repeat factors.
            rounding: `stochastic` rounds each up or down at random every epoch, so that the mean is
                right; `ceil` rounds all up, as the paper's code does.
            drop_last: Leave out the last, smaller batch of an epoch rather than fill it up with
                images from the start of the same epoch.
        """
        self._num_images, self._batch_size, self._seed = num_images, batch_size, seed
        self._factors, self._drop_last = factors, drop_last
        if factors is not None and rounding == "ceil":
            self._factors = np.ceil(factors)
        sizes = [self._batches_in(len(self.order(epoch))) for epoch in range(num_epochs)]
        ends = np.cumsum(sizes, dtype=np.int64)
        if max_steps is not None and max_steps < ends[-1]:
            ends = np.append(ends[ends < max_steps], max_steps)
        self.num_epochs = len(ends)
        self._first_steps = np.concatenate([[0], ends])

    @property
    def num_steps(self) -> int:
        """Return the optimizer steps of the whole run."""
        return int(self._first_steps[-1])

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the rows of an epoch in the order they are visited."""
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, epoch, 0xB47C)))
        rows = np.arange(self._num_images)
        if self._factors is not None:
            repeats = np.floor(self._factors).astype(np.int64)
            extra = generator.random(self._num_images) < self._factors - repeats
            rows = np.repeat(rows, repeats + extra)
        return generator.permutation(rows)

    def epochs(self, *, from_step: int) -> range:
        """Return the epochs with steps at or after `from_step`, counted from 0 over the run."""
        past = int(np.searchsorted(self._first_steps[1:], from_step, side="right"))
        return range(past, self.num_epochs)

    def steps_of(self, epoch: int, *, from_step: int = 0) -> range:
        """Return the steps of an epoch that are not before `from_step`."""
        first, end = int(self._first_steps[epoch]), int(self._first_steps[epoch + 1])
        return range(max(first, from_step), end)

    def first_steps_of(self, epochs: Sequence[int]) -> tuple[int, ...]:
        """Return the first step of each epoch that the run reaches, counted from 0."""
        return tuple(int(self._first_steps[epoch]) for epoch in epochs if epoch < self.num_epochs)

    def is_boundary(self, steps_done: int) -> bool:
        """Return whether an epoch ends after that many steps, or none has been made."""
        return steps_done in self._first_steps

    def visits(self, epoch: int) -> list[Visit]:
        """Return the visits of an epoch in their order, repeats of an image numbered from 0."""
        rows = self.order(epoch)
        if self._factors is None:
            return [Visit(epoch, row) for row in rows.tolist()]
        num_visits: Counter[int] = Counter()
        visits = []
        for row in rows.tolist():
            visits.append(Visit(epoch, row, num_visits[row]))
            num_visits[row] += 1
        return visits

    def batch_of(self, visits: Sequence[Visit], step: int) -> list[Visit]:
        """Return the global batch of a step out of the visits of its epoch.

        The last one of an epoch is filled up with the epoch's first visits, as they were.
        """
        epoch = int(np.searchsorted(self._first_steps[1:], step, side="right"))
        start = (step - int(self._first_steps[epoch])) * self._batch_size
        return [visits[place % len(visits)] for place in range(start, start + self._batch_size)]

    def batches(self, *, from_step: int = 0, rank: int = 0, num_processes: int = 1) -> "Batches":
        """Return one process's slice of every batch from a step to the end of the run."""
        return Batches(self, min(from_step, self.num_steps), rank, num_processes)

    def _batches_in(self, num_visits: int) -> int:
        if self._drop_last:
            return num_visits // self._batch_size
        return -(-num_visits // self._batch_size)


@dataclass(frozen=True, eq=False)
class Batches(Sequence[list[Visit]]):
    """One process's slices of a plan's batches, each made when it is asked for.

    Attributes:
        plan: The plan whose batches these are.
        from_step: Step of the first batch.
        rank: Index of the process.
        num_processes: Number of processes that share a batch.
    """

    plan: BatchPlan
    from_step: int
    rank: int
    num_processes: int

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.plan.num_steps - self.from_step

    def __iter__(self) -> Iterator[list[Visit]]:
        """Yield every batch; the visits of one epoch at a time are held."""
        for epoch in self.plan.epochs(from_step=self.from_step):
            visits = self.plan.visits(epoch)
            for step in self.plan.steps_of(epoch, from_step=self.from_step):
                yield self._slice(visits, step)

    @overload
    def __getitem__(self, place: int) -> list[Visit]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[Visit]]: ...
    def __getitem__(self, place: int | slice) -> list[Visit] | list[list[Visit]]:
        """Return a batch by its place, or a list of several; the order of its epoch is drawn anew.

        Raises:
            IndexError: If there are fewer batches.
        """
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        step = self.from_step + range(len(self))[place]
        return self._slice(self.plan.visits(self.plan.epochs(from_step=step)[0]), step)

    def _slice(self, visits: Sequence[Visit], step: int) -> list[Visit]:
        return self.plan.batch_of(visits, step)[self.rank :: self.num_processes]
