"""What a plan's report would say, and how surely, before a run is made."""

from collections.abc import Iterator, Sequence

from cxrssl.config.arms import pairs_of
from cxrssl.config.difference_words import (
    Known,
    difference_text,
    differences,
    pool_overlap_text,
    subject,
)
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.models.stages import body_parameters
from cxrssl.reproduce.images import PlanImages
from cxrssl.reproduce.jobs import Training

# Below this, intervals of a score are wider than what pretraining usually changes.
_FEW_TEST_IMAGES = 100


def outlook(plan: Plan, images: PlanImages, runs: Sequence[Training]) -> Iterator[str]:
    """Yield sentences on what the report would compare, on how many images, and how surely."""
    recipe = next((run.recipe for run in runs if isinstance(run.recipe, FinetuneRecipe)), None)
    if recipe is None:
        return
    if plan.main is not None:
        main = plan.treatments[plan.main]
        control = plan.treatments[main.controls[0]].title
        yield (
            f"It would say which share of the labels {control} needs to reach the "
            f"{plan.answer.metric} of {main.title} with {100 * plan.answer.label_fraction:g} % of "
            "them."
        )
    if images.are_known:
        yield from _of_images(plan, images, recipe)
    if any(_pastes_by_epochs(run) for run in runs):
        yield (
            "Epochs are longer where paste.repeats shows images with small findings more often: "
            "the time does not count that (set max_steps for steps that are the same for all)."
        )
    if plan.num_repeats == 1:
        tested = "pretraining" if plan.main is None else subject(plan, plan.main)
        yield f"One seed: whether {tested} saves labels, it could not tell."


def _of_images(plan: Plan, images: PlanImages, recipe: FinetuneRecipe) -> Iterator[str]:
    """Yield sentences on the images that the labels and the scores would be of."""
    splits = images.splits(recipe.data.protocol, normals=recipe.data.normals)
    boxes = images.num_boxes()
    train = [name for name, split in splits.items() if split == "train"]
    test = [name for name, split in splits.items() if split == "test"]
    num_boxes = sum(boxes.get(name, 0) for name in train)
    shares = ", ".join(
        f"{100 * fraction:g} % (about {fraction * len(train):.0f} films, "
        f"{fraction * num_boxes:.0f} boxes)"
        for fraction in sorted(plan.label_fractions)
    )
    yield f"Shares of the labels: {shares}."
    if plan.data.folds is not None:
        test = list(splits)
    patients = {images.patients.get(name) or name for name in test}
    of = f" of {len(patients)} patients" if len(patients) < len(test) else ""
    yield f"Scores would be on {len(test)} test images{of}."
    num_in_pool = images.num_in_pool(test)
    if num_in_pool:
        yield (
            f"{num_in_pool} of these test images {'is' if num_in_pool == 1 else 'are'} in "
            f"data.pool as well: {pool_overlap_text(plan, 'would see')}"
        )
    if len(test) < _FEW_TEST_IMAGES:
        yield (
            "So few test images leave intervals wide: a saving may well be more than they can tell."
        )


def _pastes_by_epochs(run: Training) -> bool:
    """Return whether a run's length depends on how many of its images have small findings."""
    recipe = run.recipe
    if not isinstance(recipe, FinetuneRecipe) or recipe.paste is None:
        return False
    return recipe.max_steps is None and recipe.paste.repeats > 1


def treatments_in_words(plan: Plan, runs: Sequence[Training], pool_images: int) -> Iterator[str]:
    """Yield a sentence a treatment and control: in what they differ.

    Args:
        plan: The plan.
        runs: Its trainings.
        pool_images: Number of images in the pool; 0 without one.
    """
    by_name = {run.job.name: run.recipe for run in runs}
    architectures = (recipe.backbone for recipe in by_name.values())
    known = Known(pool_images=pool_images or None, parameters=body_parameters(architectures))
    pairs = {(arm.treatment, control.treatment): (arm, control) for arm, control in pairs_of(plan)}
    for name, section in plan.treatments.items():
        for control in section.controls:
            title, other = section.title, plan.treatments[control].title
            if (name, control) not in pairs:
                yield f"{title} and {other} have no label share in common, and are not compared."
                continue
            recipes = [by_name[arm.name] for arm in pairs[name, control]]
            first, second = (recipe for recipe in recipes if isinstance(recipe, FinetuneRecipe))
            text = difference_text(differences(plan, (name, control), (first, second), known))
            yield f"{title} differs from {other} by {text}."
