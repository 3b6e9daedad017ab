"""Two films of a patient make an item: never of two patients, and always of the pool."""

import importlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cxrssl.cli.commands import app
from cxrssl.config.load import to_yaml
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import DataError
from cxrssl.data.cuts.two_views import random_view
from cxrssl.data.loaders import PoolImages, pool_loader
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.health import health_check
from cxrssl.pretrain.pool import notes, pool_images
from cxrssl.pretrain.preview import _row
from cxrssl.pretrain.start import build_pretext
from support import pretrain_recipe

FILMS = (4, 3, 2, 1, 1, 1)
"""Films of each patient."""
SETTINGS = ("method.positives=patient", "health_images=8", "log_every_steps=1")
BY_METHOD = {"smoke": "simclr", "moco_smoke": "moco", "byol_smoke": "byol"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 12 films with the names of NIH's, which tell the patient."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "source").mkdir()
    generator = np.random.default_rng(0)
    for patient, count in enumerate(FILMS):
        for film in range(count):
            pixels = generator.integers(0, 256, (16, 16), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC)
            picture.save(folder / "source" / f"{patient:08d}_{film:03d}.png")
    summary = ingest(folder / "source", folder / "store", Settings(64), num_workers=1)
    assert not summary.failures
    return folder / "store"


def recipe_of(films: Path, *changes: str, name: str = "smoke") -> PretrainRecipe:
    queue = ["method.queue_images=8"] if name == "moco_smoke" else []
    return pretrain_recipe(films, *SETTINGS, *queue, *changes, name=name)


def pool_of(films: Path, *changes: str) -> PoolImages:
    return pool_images(Store(films), recipe_of(films, *changes))[0]


def with_patients(store: Store, patients: list[str]) -> Store:
    """Return a store whose images are of these patients."""
    changed = Store(store.folder)
    pairs = zip(changed.images, patients, strict=True)
    changed.images = [replace(image, patient=patient) for image, patient in pairs]
    return changed


def test_a_pair_is_of_one_patient_and_each_film_meets_all_his_others(films: Path) -> None:
    images = pool_of(films)
    patient = [name.split("_")[0] for name in images.ids]
    met = defaultdict(set)
    for epoch in range(40):
        for place in range(12):
            first, second = images.films(Visit(epoch, place))
            assert first == place
            assert patient[second] == patient[place]
            met[place].add(second)
    for place in range(12):
        own = {other for other in range(12) if patient[other] == patient[place]}
        assert met[place] == (own - {place} or {place})


def test_an_item_has_a_view_of_each_film_and_their_patients_number(films: Path) -> None:
    images = pool_of(films)
    numbers = {}
    for place in range(12):
        visit = Visit(3, place)
        item, generators = images[visit], images.generators(visit)
        ranges = images.pairs.cut.ranges
        for view, film, generator in zip(
            item["views"], images.films(visit), generators, strict=True
        ):
            assert np.array_equal(
                view[0].numpy(), random_view(images.image(film), ranges, generator)
            )
        numbers.setdefault(images.ids[place].split("_")[0], set()).add(int(item["image"]))
    assert all(len(one) == 1 for one in numbers.values())
    assert len(set.union(*numbers.values())) == len(FILMS)


@pytest.mark.parametrize("order", ["table", "seeded"])
def test_partners_are_of_the_pool_alone(order: str, store: Store, store_folder: Path) -> None:
    # Three patients in turn: with `table` their films are in the pool, labelled, and held out.
    turns = with_patients(store, [f"patient {row % 3}" for row in range(len(store))])
    changes = ["data.protocol=published", "data.normals=false", "data.pool_fraction=0.5"]
    recipe = recipe_of(store_folder, *changes, f"data.label_order={order}")
    images, _ = pool_images(turns, recipe)
    assert len(images.rows) < len(store) - 5
    seen = set()
    for epoch in range(30):
        for place in range(len(images.rows)):
            rows = [images.rows[film] for film in images.films(Visit(epoch, place))]
            assert turns.images[rows[0]].patient == turns.images[rows[1]].patient
            seen.update(rows)
    assert seen == set(images.rows)


def test_all_processes_together_have_the_pairs_of_one(films: Path) -> None:
    images, plan = pool_images(Store(films), recipe_of(films))
    whole = list(pool_loader(images, plan.batches()[:3], 0, pin=False))
    for rank in (0, 1):
        batches = plan.batches(rank=rank, num_processes=2)[:3]
        for batch, part in zip(whole, pool_loader(images, batches, 1, pin=False), strict=True):
            assert all(torch.equal(part[name], batch[name][rank::2]) for name in batch)


def test_the_patients_are_counted_and_said(films: Path) -> None:
    recipe = recipe_of(films)
    images, _ = pool_images(Store(films), recipe)
    (line,) = notes(images, recipe)
    assert (
        "the pool has 6 patients with 10 pairs of two films. 3 patients with one film give" in line
    )
    some = with_patients(
        Store(films), ["", "", *[image.patient for image in Store(films).images[2:]]]
    )
    images, _ = pool_images(some, recipe)
    assert images.pairs.as_json() == {
        "patients": 6,
        "patients_with_one_film": 3,
        "images_without_patient": 2,
        "pairs_of_two_films": 5,
    }
    assert "and 2 images of no known patient give" in images.pairs.line()
    assert [images.films(Visit(epoch, 0)) for epoch in range(3)] == [(0, 0)] * 3


def test_fewer_patients_than_a_batch_are_said(films: Path) -> None:
    few, recipe = with_patients(Store(films), ["a", "b", "c"] * 4), recipe_of(films)
    images, _ = pool_images(few, recipe)
    assert notes(images, recipe)[1].startswith("These are fewer patients than batch_size, 4: every")


def test_pools_without_pairs_are_refused(films: Path) -> None:
    store, recipe = Store(films), recipe_of(films)
    with pytest.raises(DataError, match=r"all 12 images .* of one patient: .* --patient-from"):
        pool_images(with_patients(store, ["a"] * 12), recipe)
    with pytest.raises(
        DataError, match=r"knows no patient of the pool's 12 .* --patient-from REGE"
    ):
        pool_images(with_patients(store, [""] * 12), recipe)
    with pytest.raises(
        DataError, match=r"none of the 12 patients .* has two .* Set method.positive"
    ):
        pool_images(with_patients(store, [str(number) for number in range(12)]), recipe)


def test_the_health_of_a_run_is_measured_on_two_views_of_one_film(films: Path) -> None:
    recipe = recipe_of(films)
    images, plan = pool_images(Store(films), recipe)
    check = health_check(images, plan, recipe, "batch", rank=0, num_processes=1)
    assert all(check.images.films(Visit(0, place)) == (place, place) for place in range(12))


def test_the_preview_outlines_each_view_on_its_own_film(films: Path) -> None:
    images = pool_of(films)
    visit = Visit(0, 0)
    _, second = images.films(visit)
    panels = _row(images, 0, is_named=True)
    assert [panel.caption for panel in panels[::2]] == [images.ids[0], images.ids[second]]
    views = images[visit]["views"]
    for film, shown, view, place in zip(panels[::2], panels[1::2], views, (0, second), strict=True):
        assert np.array_equal(film.pixels, images.image(place))
        assert np.array_equal(shown.pixels, view[0].numpy())
        (outline,) = film.outlines
        assert outline.colour == shown.frame
    alone = _row(images, 11, is_named=False)
    assert [len(panel.outlines) for panel in alone] == [2, 0, 0]
    assert [panel.caption for panel in alone][:1] == [""]


@pytest.mark.parametrize(
    "name",
    ["smoke", *(pytest.param(n, marks=pytest.mark.slow) for n in ("moco_smoke", "byol_smoke"))],
)
def test_a_run_goes_on_bit_for_bit_and_says_what_its_positives_are(
    name: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(films, "max_steps=5", "checkpoint_every_steps=2", name=name)
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    arguments = ["pretrain", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "whole")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "6 patients with 10 pairs of two films" in done.output
    loop, steps = importlib.import_module("cxrssl.pretrain"), []
    real = loop.set_lr

    def interrupting(optimizer: torch.optim.Optimizer, lr: float) -> None:
        real(optimizer, lr)
        steps.append(lr)
        if len(steps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "set_lr", interrupting)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "cut", resume=False)
    monkeypatch.undo()
    pretrain(recipe, tmp_path / "cut", resume=True)
    for file in ("backbone/model.safetensors", "metrics.json", "metrics.jsonl"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    metrics = json.loads((tmp_path / "whole/metrics.json").read_text())
    assert metrics["positives"]["pairs_of_two_films"] == 10
    assert metrics["method"]["name"] == BY_METHOD[name]
    assert metrics["method"]["title"].endswith("two films of a patient as positives (MICLe)")
    assert metrics["method"]["paper"].endswith("2101.05224")


def test_other_films_of_a_patient_are_no_negatives_in_the_queue(films: Path) -> None:
    recipe = recipe_of(films, name="moco_smoke")
    images, _ = pool_images(Store(films), recipe)
    method, _ = build_pretext(recipe)
    numbers = torch.stack([images[Visit(0, place)]["image"] for place in range(8)])
    method.queue.images.copy_(numbers)  # films of three patients: 4, 3 and 1
    query = torch.nn.functional.normalize(torch.randn(1, 64), dim=1)
    batch = {"image": images[Visit(0, 2)]["image"][None]}
    loss = float(method.losses((query, query), batch)["loss"])
    rest = method.queue.rows[4:]
    cosines = [1.0, *(float(row @ query[0]) for row in rest)]
    exponentials = [np.exp(cosine / recipe.method.temperature) for cosine in cosines]
    assert loss == pytest.approx(-np.log(exponentials[0] / sum(exponentials)), abs=1e-5)
