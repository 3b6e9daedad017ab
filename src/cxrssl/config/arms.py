"""Which runs a plan asks for: its arms, and the pretrainings that they start from."""

from collections.abc import Iterator
from dataclasses import dataclass

from cxrssl.config.plan import Plan
from cxrssl.paper.faults import Faults


@dataclass(frozen=True)
class Pretraining:
    """One pretraining run.

    Attributes:
        key: Which of the plan's pretrainings.
        label_fraction: Share of the training images that it leaves out, where its pool is the rest;
            else None.
        seed: Of the run.
        faults: That it has.
        after: The run that it starts from, or None.
    """

    key: str
    label_fraction: float | None
    seed: int
    faults: Faults = ()
    after: "Pretraining | None" = None

    @property
    def name(self) -> str:
        """Return what its folder is called."""
        share = "" if self.label_fraction is None else f"-{percent(self.label_fraction)}"
        return f"{_prefix(self.faults)}pretrain-{self.key}{share}-seed{self.seed}"


@dataclass(frozen=True)
class Arm:
    """One fine-tuning run.

    Attributes:
        initialisation: Which of the plan's.
        label_fraction: Share of the training labels that it sees.
        seed: Of the run.
        pretraining: The run whose backbone it starts from, or None.
        faults: That it has.
    """

    initialisation: str
    label_fraction: float
    seed: int
    pretraining: Pretraining | None = None
    faults: Faults = ()

    @property
    def name(self) -> str:
        """Return what its folder is called."""
        share = percent(self.label_fraction)
        return f"{_prefix(self.faults)}{self.initialisation}-{share}-seed{self.seed}"


def percent(fraction: float) -> str:
    """Return a share as it stands in names, such as 12.5."""
    return f"{100 * fraction:g}"


def arms_of(plan: Plan) -> list[Arm]:
    """Return every arm, most labels first, initialisations in the plan's order; faulty ones last.

    Where the pool is the rest there is none that sees all labels.
    """
    fractions = sorted(plan.label_fractions, reverse=True)
    wanted = [
        (name, fraction, Faults())
        for fraction in fractions
        for name, own in plan.initialisations.items()
        if fraction in (own.label_fractions or plan.label_fractions)
        and (fraction < 1 or not _learns_from_rest(plan, name))
    ] + list(_faulty(plan))
    return [
        Arm(name, fraction, seed, _pretraining(plan, name, fraction, seed, faults), faults)
        for name, fraction, faults in wanted
        for seed in plan.seeds
    ]


def pretrainings_of(arms: list[Arm]) -> list[Pretraining]:
    """Return every pretraining that arms start from, each once, what others start from first."""
    found: dict[Pretraining, None] = {}
    for arm in arms:
        chain, link = [], arm.pretraining
        while link is not None:
            chain.append(link)
            link = link.after
        found |= dict.fromkeys(reversed(chain))
    return list(found)


def _faulty(plan: Plan) -> Iterator[tuple[str, float, Faults]]:
    """Yield what the ladder of faults needs beyond the plan's own arms."""
    if not plan.faults or plan.main is None:
        return
    control = plan.initialisations[plan.main].controls[0]
    yield control, 1.0, ("P4",)  # with all labels there is no pool, and so no P5
    for fraction in sorted(plan.faults, reverse=True):
        yield plan.main, fraction, ("P4",)
        yield plan.main, fraction, ("P4", "P5")
        yield control, fraction, ("P4", "P5")


def _learns_from_rest(plan: Plan, initialisation: str) -> bool:
    key = plan.initialisations[initialisation].pretraining
    while key is not None:
        if plan.pretrainings[key].pool == "rest":
            return True
        key = plan.pretrainings[key].after
    return False


def _pretraining(
    plan: Plan, initialisation: str, fraction: float, seed: int, faults: Faults
) -> Pretraining | None:
    key = plan.initialisations[initialisation].pretraining
    chain = []
    while key is not None:
        chain.append(key)
        key = plan.pretrainings[key].after
    found: Pretraining | None = None
    for key in reversed(chain):
        is_rest = plan.pretrainings[key].pool == "rest"
        follows_rest = found is not None and found.label_fraction is not None
        share = fraction if is_rest or follows_rest else None
        # The order of the table matters to what is taken from the table alone.
        own = faults if plan.pretrainings[key].pool != "external" or follows_rest else ()
        found = Pretraining(key, share, seed, own, found)
    return found


def _prefix(faults: Faults) -> str:
    return "".join(fault.lower() for fault in faults) + "-" if faults else ""
