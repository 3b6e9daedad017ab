"""The `cxrssl` commands that a plan comes to, each of which can be repeated by hand."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrssl.config.arms import Arm, Pretraining, arms_of, pretrainings_of
from cxrssl.config.load import load_recipe, recipe_path
from cxrssl.config.plan import Plan, RecipeSection
from cxrssl.config.schema import FinetuneRecipe, LabelSection, PretrainRecipe
from cxrssl.core.errors import RecipeError
from cxrssl.data.fusion import reader_of
from cxrssl.data.protocol import order_of
from cxrssl.jobs.job import Job
from cxrssl.paper.faults import FAULTY

Recipe = PretrainRecipe | FinetuneRecipe
POOL = "pool"
"""What the store of a pool beside the labelled source is called."""
# What YAML takes for the same text without quotes; its words for other things are left out.
_PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[A-Za-z./][\w./-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Training:
    """A job that trains, and what it is told.

    Attributes:
        job: Its command.
        folder: Its run.
        recipe: Merged, as the command will read it.
    """

    job: Job
    folder: Path
    recipe: PretrainRecipe | FinetuneRecipe

    def visits(self, *, labelled: int, pool: int) -> int:
        """Return about how many images it trains on, each as often as it comes.

        Args:
            labelled: Training images of the source with labels.
            pool: Images of the source without.
        """
        recipe = self.recipe
        if isinstance(recipe, FinetuneRecipe):
            visits = recipe.data.label_fraction * labelled * recipe.epochs
        else:
            images = pool if recipe.data.store.name == POOL else labelled
            visits = recipe.data.pool_fraction * images * recipe.epochs
        most = visits if recipe.max_steps is None else recipe.max_steps * recipe.batch_size
        return max(recipe.batch_size, round(min(visits, most)))


def data_jobs(plan: Plan, out: Path) -> Iterator[Job]:
    """Yield the jobs that make the stores."""
    data = plan.data
    if data.source is None:
        yield _phantom(plan, out)
    yield _ingest(plan, "ingest", data.source or out / "phantom", out / "store", ("phantom",))
    if any(own.pool == "external" for own in plan.pretrainings.values()):
        assert data.pool is not None  # the schema wants one
        yield _ingest(plan, "ingest-pool", data.pool, out / POOL, (), layout="images")


def trainings(plan: Plan, out: Path) -> list[Training]:
    """Return every job that trains.

    What takes longest, or what others wait for, comes first, so that no place idles at the end.

    Raises:
        RecipeError: If a recipe is missing, or what the plan changes does not fit it.
    """
    arms = arms_of(plan)
    alone = [arm for arm in arms if arm.pretraining is None and arm.label_fraction == 1]
    others = [arm for arm in arms if arm not in alone]
    runs = sorted(pretrainings_of(arms), key=lambda run: run.label_fraction or 0.0)
    runs = [run for depth in range(len(runs)) for run in runs if _depth(run) == depth]
    return [
        *(_finetuning(plan, out, arm) for arm in alone),
        *(_pretraining(plan, out, run) for run in runs),
        *(_finetuning(plan, out, arm) for arm in others),
    ]


def _depth(run: Pretraining) -> int:
    return 0 if run.after is None else 1 + _depth(run.after)


def _phantom(plan: Plan, out: Path) -> Job:
    made = plan.data.phantom
    assert made is not None  # the schema wants a source or a phantom
    folder = out / "phantom"
    options = (
        *("--images", str(made.images), "--seed", str(made.seed)),
        *("--normals", str(made.normal_share)),
        *("--min-side", str(made.min_side_px), "--max-side", str(made.max_side_px)),
    )
    arguments = ("phantom", str(folder), *options)
    return Job("phantom", arguments, folder / "train.csv", not_resumable=folder)


def _ingest(
    plan: Plan,
    name: str,
    source: Path,
    store: Path,
    needs: tuple[str, ...],
    *,
    layout: str | None = None,
) -> Job:
    form = () if layout is None else ("--layout", layout)
    size = ("--size", str(plan.data.size_px), "--fit", plan.data.fit)
    arguments = ("ingest", str(source), str(store), *size, *form)
    return Job(name, arguments, store / "manifest.json", needs)


def _pretraining(plan: Plan, out: Path, run: Pretraining) -> Training:
    own = plan.pretrainings[run.key]
    is_external = own.pool == "external"
    changes: dict[str, object] = {
        "data.store": out / (POOL if is_external else "store"),
        "data.protocol": "corrected" if is_external else plan.protocol,
        "data.pool_fraction": 1.0,
        "seed": run.seed,
    }
    if own.pool == "rest":
        assert run.label_fraction is not None  # so `config.arms` makes it
        changes["data.pool_fraction"] = round(1 - run.label_fraction, 9)
    if run.after is not None:
        changes |= {"body.start": "run", "body.weights": out / run.after.name / "backbone"}
    if not is_external:
        changes |= FAULTY[run.faults]
    needs = ("ingest-pool" if is_external else "ingest",)
    following = () if run.after is None else (run.after.name,)
    if own.pool == "rest":
        changes |= _pairing(plan, out, run, _merged("pretrain", own, out / run.name, changes))
    return _training("pretrain", own, out / run.name, changes, needs + following)


def _pairing(plan: Plan, out: Path, run: Pretraining, recipe: Recipe) -> dict[str, object]:
    """Return what a pretraining must be told so that it sees no image of its fine-tuning.

    Where both recipes say the same of the images there is nothing to tell.
    """
    changes = _label_changes(plan, out, run.label_fraction or 1.0, run.seed) | FAULTY[run.faults]
    labels = _merged("finetune", plan.finetuning, out / run.name, changes).data
    pool = recipe.data
    assert isinstance(labels, LabelSection)  # as every fine-tuning has
    orders = [order_of(data.protocol, data.label_order) for data in (labels, pool)]
    if labels.normals == pool.normals and orders[0] == orders[1] and not reader_of(labels.fusion):
        return {}
    return {
        "data.finetuning": {
            "normals": labels.normals,
            "label_order": labels.label_order,
            "fusion": labels.fusion,
        }
    }


def _label_changes(plan: Plan, out: Path, fraction: float, seed: int) -> dict[str, object]:
    return {
        "data.store": out / "store",
        "data.protocol": plan.protocol,
        "data.label_fraction": fraction,
        "seed": seed,
    }


def _finetuning(plan: Plan, out: Path, arm: Arm) -> Training:
    wanted = dict(flat(plan.initialisations[arm.initialisation].set))
    changes = _label_changes(plan, out, arm.label_fraction, arm.seed)
    needs: tuple[str, ...] = ("ingest",)
    if arm.pretraining is not None:
        changes["init.backbone"] = out / arm.pretraining.name / "backbone"
        needs += (arm.pretraining.name,)
    changes |= FAULTY[arm.faults]
    section = plan.finetuning.model_copy(update={"set": dict(flat(plan.finetuning.set)) | wanted})
    return _training("finetune", section, out / arm.name, changes, needs)


def _training(
    command: str,
    section: RecipeSection,
    folder: Path,
    changes: Mapping[str, object],
    needs: tuple[str, ...],
) -> Training:
    settings = _settings(section, folder, changes)
    overrides = [f"{key}={_as_yaml(value)}" for key, value in settings.items()]
    options = tuple(part for one in overrides for part in ("--set", one))
    path = recipe_path(section.recipe)
    arguments = (command, str(path), *options, "--out", str(folder), "--resume")
    job = Job(folder.name, arguments, folder / "metrics.json", needs, trains=True)
    return Training(job, folder, _merged(command, section, folder, changes))


def _merged(
    command: str, section: RecipeSection, folder: Path, changes: Mapping[str, object]
) -> Recipe:
    """Return a recipe as its command will read it."""
    settings = _settings(section, folder, changes)
    overrides = [f"{key}={_as_yaml(value)}" for key, value in settings.items()]
    path = recipe_path(section.recipe)
    if command == "pretrain":
        return load_recipe(path, PretrainRecipe, overrides=overrides)
    return load_recipe(path, FinetuneRecipe, overrides=overrides)


def _settings(
    section: RecipeSection, folder: Path, changes: Mapping[str, object]
) -> dict[str, object]:
    wanted = dict(flat(section.set))
    twice = sorted(wanted.keys() & changes.keys())
    if twice:
        raise RecipeError(
            f"{folder.name}: {', '.join(twice)} can't be set for a recipe of a plan, which decides "
            "it. Take it out of `set`."
        )
    return wanted | dict(changes)


def flat(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the fields of nested mappings under dotted keys."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_yaml(value: object) -> str:
    text = str(value)
    if isinstance(value, str | Path):
        return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
