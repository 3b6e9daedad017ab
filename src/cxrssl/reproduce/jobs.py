"""The `cxrssl` commands of a plan, each of which can be repeated by hand."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cxrssl.config.arms import Arm, Pretraining, pretrainings_of, run_arms_of, run_seed
from cxrssl.config.load import flattened, load_recipe, recipe_path
from cxrssl.config.plan import PhantomSection, Plan, RecipeSection
from cxrssl.config.schema import FinetuneRecipe, LabelSection, PretrainRecipe
from cxrssl.core.errors import RecipeError
from cxrssl.data.fusion import reader_of
from cxrssl.data.protocol import order_of
from cxrssl.jobs.job import Job
from cxrssl.paper.faults import FAULTY
from cxrssl.reproduce.folds import split_file

Recipe = PretrainRecipe | FinetuneRecipe
POOL = "pool"
"""What the store of a pool beside the labelled source is called."""
UNREAD_POOL = "pool-unread"
"""The store of a made pool without its labels, for pretrainings: all of its images, not those of
a training split."""
POOLS = (POOL, UNREAD_POOL)
WEIGHTS = "weights"
WEIGHTS_FILE = "imagenet.safetensors"
"""ImageNet weights of a sized plan, a file in its folder that a job of its own writes."""
# What YAML takes for the same text without quotes; its words for other things are left out.
_PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[A-Za-z./][\w./-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Training:
    """A training job and its recipe.

    Attributes:
        job: Its command.
        folder: Folder of its run.
        recipe: The merged recipe, as the command will read it.
    """

    job: Job
    folder: Path
    recipe: PretrainRecipe | FinetuneRecipe

    def visits(self, *, labelled: int, pool: int) -> int:
        """Return about how many images it trains on, counting repeated visits.

        Args:
            labelled: Training images of the source with labels.
            pool: Images of the pool without labels.
        """
        recipe = self.recipe
        if isinstance(recipe, FinetuneRecipe):
            visits = recipe.data.label_fraction * labelled * recipe.epochs
        else:
            images = pool if recipe.data.store.name in POOLS else labelled
            visits = recipe.data.pool_fraction * images * recipe.epochs
        limit = visits if recipe.max_steps is None else recipe.max_steps * recipe.batch_size
        return max(recipe.batch_size, round(min(visits, limit)))

    def work(self, *, labelled: int, pool: int) -> int:
        """Return about how many images it trains on, those without labels for a teacher too."""
        visits, recipe = self.visits(labelled=labelled, pool=pool), self.recipe
        if not isinstance(recipe, FinetuneRecipe) or recipe.unlabelled is None:
            return visits
        steps = max(0, visits // recipe.batch_size - recipe.unlabelled.burn_in_steps)
        return visits + steps * recipe.unlabelled.batch_size


def data_jobs(plan: Plan, out: Path) -> Iterator[Job]:
    """Yield the jobs that make the stores."""
    data = plan.data
    if data.source is None:
        assert data.phantom is not None  # the schema wants a source or a phantom
        yield _phantom("phantom", data.phantom, out / "phantom")
    yield _ingest(plan, "ingest", data.source or out / "phantom", out / "store", ("phantom",))
    for fold in range(1, (data.folds or 0) + 1):
        assert data.source is not None  # the schema wants one for folds
        store = out / store_name(fold)
        split = str(split_file(out, fold))
        yield _ingest(plan, f"ingest-fold{fold}", data.source, store, (), split=split)
    if plan.uses_pool:
        yield from _pool_jobs(plan, out)
    architecture = imagenet_architecture(plan)
    if architecture is not None:
        file = out / WEIGHTS_FILE
        yield Job(WEIGHTS, ("weights", "imagenet", architecture, "--out", str(file)), file)


def imagenet_architecture(plan: Plan) -> str | None:
    """Return the architecture whose ImageNet weights a sized plan writes into its folder."""
    if plan.sizing is None or plan.sizing.decided is None or not plan.sizing.decided.imagenet:
        return None
    return plan.sizing.tiers[plan.sizing.decided.tier].imagenet


def trainings(plan: Plan, out: Path) -> list[Training]:
    """Return every training job.

    The longest jobs, and those that others need, come first, so that no GPU idles at the end.

    Raises:
        RecipeError: If a recipe is missing, or what the plan changes does not fit it.
    """
    arms = run_arms_of(plan)
    baselines = [arm for arm in arms if arm.pretraining is None and arm.label_fraction == 1]
    dependent = [arm for arm in arms if arm not in baselines]
    runs = sorted(pretrainings_of(arms), key=lambda run: run.label_fraction or 0.0)
    runs = [run for depth in range(len(runs)) for run in runs if _depth(run) == depth]
    return [
        *(_finetuning(plan, out, arm) for arm in baselines),
        *(_pretraining(plan, out, run) for run in runs),
        *(_finetuning(plan, out, arm) for arm in dependent),
    ]


def _depth(run: Pretraining) -> int:
    return 0 if run.after is None else 1 + _depth(run.after)


def _pool_jobs(plan: Plan, out: Path) -> Iterator[Job]:
    """Yield the jobs that make the store of a pool."""
    made, folder = plan.data.pool_phantom, plan.data.pool
    if made is None:
        assert folder is not None  # the schema wants one
        yield _ingest_pool(plan, folder, out)
        return
    source = out / "phantom-pool"
    yield _phantom("phantom-pool", made, source)
    # With its table: what a teacher finds can then be compared with what there is.
    needs = ("phantom-pool",)
    yield _ingest(plan, "ingest-pool", source, out / POOL, needs, layout="kaggle")
    if any(section.pool == "external" for section in plan.pretrainings.values()):
        store = out / UNREAD_POOL
        yield _ingest(plan, "ingest-pool-unread", source, store, needs, layout="images")


def _ingest_pool(plan: Plan, folder: Path, out: Path) -> Job:
    """Return the job that ingests a folder of images, with their patients if they are known."""
    job = _ingest(plan, "ingest-pool", folder, out / POOL, (), layout="images")
    pattern = plan.data.pool_patient_from
    options = ("--patient-from", pattern) if pattern else ()
    return replace(job, arguments=(*job.arguments, *options))


def _phantom(name: str, phantom: PhantomSection, folder: Path) -> Job:
    options = (
        *("--images", str(phantom.images), "--seed", str(phantom.seed)),
        *("--normals", str(phantom.normal_share)),
        *("--min-side", str(phantom.min_side_px), "--max-side", str(phantom.max_side_px)),
    )
    arguments = ("phantom", str(folder), *options)
    return Job(name, arguments, folder / "train.csv", not_resumable=folder)


def _ingest(
    plan: Plan,
    name: str,
    source: Path,
    store: Path,
    needs: tuple[str, ...],
    *,
    layout: str | None = None,
    split: str | None = None,
) -> Job:
    layout_options: tuple[str, ...] = () if layout is None else ("--layout", layout)
    if layout is None:
        options = {
            "--layout": plan.data.layout.replace("auto", ""),
            "--patient-from": plan.data.patient_from,
            "--split": plan.data.split if split is None else split,
        }
        layout_options = tuple(
            text for name, value in options.items() if value for text in (name, value)
        )
    size_options = ("--size", str(plan.data.size_px), "--fit", plan.data.fit)
    arguments = ("ingest", str(source), str(store), *size_options, *layout_options)
    return Job(name, arguments, store / "manifest.json", needs)


def _pretraining(plan: Plan, out: Path, run: Pretraining) -> Training:
    section = plan.pretrainings[run.key]
    is_external = section.pool == "external"
    pool = POOL if plan.data.pool_phantom is None else UNREAD_POOL
    changes: dict[str, object] = {
        "data.store": out / (pool if is_external else store_name(run.fold)),
        "data.protocol": "corrected" if is_external else plan.protocol,
        "data.pool_fraction": 1.0,
        "seed": run_seed(plan, run),
    }
    if section.pool == "rest":
        assert run.label_fraction is not None  # so `config.arms` makes it
        changes["data.pool_fraction"] = round(1 - run.label_fraction, 9)
    if run.after is not None:
        changes |= {"body.start": "run", "body.weights": out / run.after.name / "backbone"}
    if not is_external:
        changes |= FAULTY[run.faults]
    needs = (f"ingest-{pool}" if is_external else _ingest_name(run.fold),)
    following = () if run.after is None else (run.after.name,)
    if section.pool == "rest":
        changes |= _pairing(plan, out, run, _merged("pretrain", section, out / run.name, changes))
    return _training("pretrain", section, out / run.name, changes, needs + following)


def _pairing(plan: Plan, out: Path, run: Pretraining, recipe: Recipe) -> dict[str, object]:
    """Return the recipe fields by which a pretraining leaves out the images of its fine-tuning.

    None are needed if both recipes select images alike.
    """
    changes = _label_changes(plan, out, run, run.label_fraction or 1.0)
    changes |= FAULTY[run.faults]
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


def store_name(fold: int | None) -> str:
    """Return the name of the store of a fold, or of a plan without folds."""
    return "store" if fold is None else f"store-fold{fold}"


def _ingest_name(fold: int | None) -> str:
    return "ingest" if fold is None else f"ingest-fold{fold}"


def _label_changes(
    plan: Plan, out: Path, run: Arm | Pretraining, fraction: float
) -> dict[str, object]:
    return {
        "data.store": out / store_name(run.fold),
        "data.protocol": plan.protocol,
        "data.label_fraction": fraction,
        "seed": run_seed(plan, run),
    }


def _finetuning(plan: Plan, out: Path, arm: Arm) -> Training:
    treatment = plan.treatments[arm.treatment]
    changes = _label_changes(plan, out, arm, arm.label_fraction)
    needs: tuple[str, ...] = (_ingest_name(arm.fold),)
    if arm.pretraining is not None:
        changes["init.backbone"] = out / arm.pretraining.name / "backbone"
        needs += (arm.pretraining.name,)
    if treatment.unlabelled_pool == "external":
        needs += ("ingest-pool",)
    changes |= FAULTY[arm.faults]
    section = plan.finetuning.model_copy(
        update={"set": dict(flattened(plan.finetuning.set)) | dict(flattened(treatment.set))}
    )
    changes |= _unlabelled_store(plan, out, arm, section)
    try:
        return _training("finetune", section, out / arm.name, changes, needs)
    except RecipeError as error:
        raise RecipeError(f"treatment {arm.treatment}, as the plan changes it: {error}") from error


def _unlabelled_store(plan: Plan, out: Path, arm: Arm, section: RecipeSection) -> dict[str, object]:
    """Return the recipe's field of the images without labels, none for a recipe without them.

    Raises:
        RecipeError: If the recipe has a section `unlabelled` and the treatment names no pool for
            it, or the other way round.
    """
    pool = plan.treatments[arm.treatment].unlabelled_pool
    has_section = _has_unlabelled(section)
    if has_section and pool is None:
        raise RecipeError(
            f"{arm.name} learns from images without labels, and its treatment does not say which: "
            f"set treatments.{arm.treatment}.unlabelled_pool to rest, the training images whose "
            "labels it does not use, or to external, those of data.pool."
        )
    if pool is not None and not has_section:
        raise RecipeError(
            f"treatment {arm.treatment} has unlabelled_pool {pool}, and its recipe has no section "
            "unlabelled: set its fields, or take unlabelled_pool out."
        )
    if pool is None:
        return {}
    return {"unlabelled.store": out / POOL if pool == "external" else None}


def _has_unlabelled(section: RecipeSection) -> bool:
    """Return whether a recipe has a section `unlabelled`, with the fields that are set in it."""
    has_section: bool | None = None
    for key, value in section.set.items():
        if key.split(".")[0] == "unlabelled":
            has_section = key != "unlabelled" or value is not None
    if has_section is None:
        recipe = load_recipe(recipe_path(section.recipe), FinetuneRecipe, overrides=[])
        has_section = recipe.unlabelled is not None
    return has_section


def _training(
    command: str,
    section: RecipeSection,
    folder: Path,
    changes: Mapping[str, object],
    needs: tuple[str, ...],
) -> Training:
    overrides = _overrides(section, folder, changes)
    options = tuple(part for override in overrides for part in ("--set", override))
    path = recipe_path(section.recipe)
    arguments = (command, str(path), *options, "--out", str(folder), "--resume")
    recipe = _merged(command, section, folder, changes)
    weights = recipe.init.weights if isinstance(recipe, FinetuneRecipe) else recipe.body.weights
    if weights == folder.parent / WEIGHTS_FILE:
        needs += (WEIGHTS,)
    job = Job(folder.name, arguments, folder / "metrics.json", needs, trains=True)
    return Training(job, folder, recipe)


def _merged(
    command: str, section: RecipeSection, folder: Path, changes: Mapping[str, object]
) -> Recipe:
    """Return a recipe as its command will read it."""
    overrides, path = _overrides(section, folder, changes), recipe_path(section.recipe)
    if command == "pretrain":
        return load_recipe(path, PretrainRecipe, overrides=overrides)
    return load_recipe(path, FinetuneRecipe, overrides=overrides)


def _overrides(section: RecipeSection, folder: Path, changes: Mapping[str, object]) -> list[str]:
    """Return the `--set` options of a run: what its section of the plan sets, and `changes`.

    Raises:
        RecipeError: If the section sets a field that the plan decides.
    """
    settings = dict(flattened(section.set))
    conflicts = sorted(settings.keys() & changes.keys())
    if conflicts:
        raise RecipeError(
            f"{folder.name}: {', '.join(conflicts)} can't be set for a recipe of a plan, which "
            "decides it. Take it out of `set`."
        )
    return [f"{key}={_as_yaml(value)}" for key, value in (settings | dict(changes)).items()]


def _as_yaml(value: object) -> str:
    text = str(value)
    if isinstance(value, str | Path):
        return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
