"""The runs of a plan: its arms, and the pretrainings that they start from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cxrssl.config.plan import Plan
from cxrssl.paper.faults import Faults


@dataclass(frozen=True)
class Pretraining:
    """One pretraining run.

    Attributes:
        key: Key of its section in the plan's `pretrainings`.
        label_fraction: Fraction of the training images that it leaves out if its pool is `rest`,
            else None.
        seed: Seed of the plan; `run_seed` is the seed of the run.
        faults: Faults of the published code in this run, such as `("P4",)`.
        after: The pretraining that it starts from, or None.
        fold: Fold of the images, from 1; None in a plan without folds, or of images of a pool.
    """

    key: str
    label_fraction: float | None
    seed: int
    faults: Faults = ()
    after: "Pretraining | None" = None
    fold: int | None = None

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        percentage = "" if self.label_fraction is None else f"-{percent(self.label_fraction)}"
        name = f"{_prefix(self.faults)}pretrain-{self.key}{percentage}"
        return f"{name}{_fold_text(self.fold)}-seed{self.seed}"


@dataclass(frozen=True)
class Arm:
    """One fine-tuning run.

    Attributes:
        treatment: Key of its section in the plan's `treatments`.
        label_fraction: Fraction of the training labels that it uses.
        seed: Seed of the plan; `run_seed` is the seed of the run.
        pretraining: The pretraining whose backbone it starts from, or None.
        faults: Faults of the published code in this run, such as `("P4",)`.
        fold: Fold of the images, from 1; None in a plan without folds, or for all folds together.
    """

    treatment: str
    label_fraction: float
    seed: int
    pretraining: Pretraining | None = None
    faults: Faults = ()
    fold: int | None = None

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        name = f"{_prefix(self.faults)}{self.treatment}-{percent(self.label_fraction)}"
        return f"{name}{_fold_text(self.fold)}-seed{self.seed}"


def percent(fraction: float) -> str:
    """Return a fraction as percent for names, such as `12.5`."""
    return f"{100 * fraction:g}"


def arms_of(plan: Plan) -> list[Arm]:
    """Return every arm, most labels first, treatments in the plan's order; faulty ones last.

    Arms that learn from the rest of the images never use all labels.
    """
    fractions = sorted(plan.label_fractions, reverse=True)
    settings = [
        (name, fraction, Faults())
        for fraction in fractions
        for name, section in plan.treatments.items()
        if fraction in (section.label_fractions or plan.label_fractions)
        and (fraction < 1 or not _uses_rest_pool(plan, name))
    ] + list(_fault_settings(plan))
    return [
        Arm(name, fraction, seed, _pretraining(plan, name, fraction, seed, faults), faults)
        for name, fraction, faults in settings
        for seed in plan.seeds
    ]


def run_arms_of(plan: Plan) -> list[Arm]:
    """Return the arms that are runs: those of `arms_of`, each in every fold of the plan."""
    arms = arms_of(plan)
    return [run for arm in arms for run in in_folds(plan, arm)] if plan.data.folds else arms


def in_folds(plan: Plan, arm: Arm) -> list[Arm]:
    """Return an arm in each fold of a plan; the arm itself in a plan without folds."""
    if plan.data.folds is None:
        return [arm]
    return [
        replace(arm, fold=fold, pretraining=_of_fold(plan, arm.pretraining, fold))
        for fold in range(1, plan.data.folds + 1)
    ]


def _of_fold(plan: Plan, run: Pretraining | None, fold: int) -> Pretraining | None:
    """Return a pretraining in a fold: another one, unless all its images are of another folder."""
    if run is None:
        return None
    after = _of_fold(plan, run.after, fold)
    is_external = plan.pretrainings[run.key].pool == "external"
    same = is_external and (after is None or after.fold is None)
    return replace(run, after=after, fold=None if same else fold)


def run_seed(plan: Plan, run: Arm | Pretraining) -> int:
    """Return the random seed of a run: the plan's, or with `data.fresh_seeds` one of its fold."""
    if not plan.data.fresh_seeds or plan.data.folds is None or run.fold is None:
        return run.seed
    return run.seed * plan.data.folds + run.fold - 1


def pairs_of(plan: Plan) -> Iterator[tuple[Arm, Arm]]:
    """Yield each run of a treatment and that of its control with the same labels, without faults.

    A treatment comes with each of its controls.
    """
    arms = [arm for arm in run_arms_of(plan) if not arm.faults]
    by_labels = {(arm.treatment, arm.label_fraction, arm.seed, arm.fold): arm for arm in arms}
    for arm in arms:
        for name in plan.treatments[arm.treatment].controls:
            control = by_labels.get((name, arm.label_fraction, arm.seed, arm.fold))
            if control is not None:
                yield arm, control


def pretrainings_of(arms: list[Arm]) -> list[Pretraining]:
    """Return every pretraining that arms start from, once, each before those that start from it."""
    pretrainings: dict[Pretraining, None] = {}
    for arm in arms:
        chain, pretraining = [], arm.pretraining
        while pretraining is not None:
            chain.append(pretraining)
            pretraining = pretraining.after
        pretrainings |= dict.fromkeys(reversed(chain))
    return list(pretrainings)


def _fault_settings(plan: Plan) -> Iterator[tuple[str, float, Faults]]:
    """Yield treatment, label fraction and faults of the arms with faults."""
    if not plan.faults or plan.main is None:
        return
    control = plan.treatments[plan.main].controls[0]
    yield control, 1.0, ("P4",)  # with all labels there is no pool, and so no P5
    for fraction in sorted(plan.faults, reverse=True):
        yield plan.main, fraction, ("P4",)
        yield plan.main, fraction, ("P4", "P5")
        yield control, fraction, ("P4", "P5")


def _uses_rest_pool(plan: Plan, treatment: str) -> bool:
    pools = [plan.pretrainings[key].pool for key in _pretraining_keys(plan, treatment)]
    return "rest" in (*pools, plan.treatments[treatment].unlabelled_pool)


def _pretraining_keys(plan: Plan, treatment: str) -> list[str]:
    """Return the keys of the pretrainings behind a treatment, in the order of their runs."""
    keys, key = list[str](), plan.treatments[treatment].pretraining
    while key is not None:
        keys.insert(0, key)
        key = plan.pretrainings[key].after
    return keys


def _pretraining(
    plan: Plan, treatment: str, fraction: float, seed: int, faults: Faults
) -> Pretraining | None:
    pretraining: Pretraining | None = None
    for key in _pretraining_keys(plan, treatment):
        pool = plan.pretrainings[key].pool
        follows_rest = pretraining is not None and pretraining.label_fraction is not None
        label_fraction = fraction if pool == "rest" or follows_rest else None
        # The order of the table matters only for images that are taken from the table.
        run_faults = faults if pool != "external" or follows_rest else ()
        pretraining = Pretraining(key, label_fraction, seed, run_faults, pretraining)
    return pretraining


def _fold_text(fold: int | None) -> str:
    return "" if fold is None else f"-fold{fold}"


def _prefix(faults: Faults) -> str:
    return "".join(fault.lower() for fault in faults) + "-" if faults else ""
