"""What a plan's report would say, and how surely, before a run is made."""

from collections.abc import Iterator, Sequence

from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
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
        main = plan.initialisations[plan.main]
        control = plan.initialisations[main.controls[0]].title
        yield (
            f"It would say which share of the labels {control} needs to reach the "
            f"{plan.answer.metric} of {main.title} with {100 * plan.answer.label_fraction:g} % of "
            "them."
        )
    if images.are_known:
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
                "data.pool as well: pretraining would see their pixels, if not their labels. Take "
                "them out of data.pool."
            )
        if len(test) < _FEW_TEST_IMAGES:
            yield (
                "So few test images leave intervals wide: a saving may well be more than they can "
                "tell."
            )
    if len(plan.seeds) == 1:
        yield "One seed: whether pretraining saves labels, it could not tell."
