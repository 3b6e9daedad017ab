"""The library as a program and a notebook use it: `import cxrssl`."""

import ast
import inspect
import json
import os
import pickle
import pydoc
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

import cxrssl
from cxrssl.config.load import load_recipe
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import ArgumentError, DataError, RunError
from cxrssl.data.detection import examples_of
from cxrssl.data.dicom.read import read_dicom
from cxrssl.data.store import Store
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.models.detector_folder import save_detector
from cxrssl.run.progress import Meter
from detectors import detector as small_detector
from detectors import rcnn
from process_state import changes, state_of_process
from support import ROOT, finetune_recipe, output_of, run_python

PACKAGES = ("evaluate", "finetune", "ingest", "predict", "pretrain", "reproduce")
# For programs that import what tests share, in a fresh clone as well.
PATHS = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])


# --- the package


def test_importing_cxrssl_imports_no_other_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import cxrssl; dir(cxrssl)\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names), cxrssl.__version__)"
    )
    assert output_of("-c", code) == f"['cxrssl'] {cxrssl.__version__}\n"


def test_light_calls_import_no_torch(store_folder: Path) -> None:
    code = (
        "import sys, cxrssl; store = cxrssl.open_store(sys.argv[1]); store[0].image\n"
        "cxrssl.read_dicom, cxrssl.fuse, cxrssl.evaluate, cxrssl.Scores, cxrssl.recipe\n"
        "cxrssl.recipe('pretrain/smoke'); print('torch' in sys.modules)"
    )
    assert output_of("-c", code, store_folder) == "False\n"


def test_the_types_are_those_of_what_is_imported() -> None:
    stub = ast.parse(files("cxrssl").joinpath("__init__.pyi").read_text())
    typed = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == cxrssl._MODULE_OF
    assert set(cxrssl.__all__) == {*typed, "__version__"}
    assert files("cxrssl").joinpath("py.typed").is_file()
    for name, module in typed.items():
        value = getattr(cxrssl, name)
        assert callable(value)
        if name not in PACKAGES:
            assert value is getattr(import_module(str(module)), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cxrssl.nothing  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_called_as_the_function_of_its_name(name: str) -> None:
    package = import_module(f"cxrssl.{name}")  # whatever was imported first
    function = getattr(import_module(cxrssl._MODULE_OF[name]), name)
    assert getattr(cxrssl, name) is package
    assert inspect.signature(package) == inspect.signature(function)
    assert inspect.getdoc(package) == inspect.getdoc(function)
    assert "Args:" in pydoc.render_doc(package)
    assert pickle.loads(pickle.dumps(package)) is package
    with pytest.raises(TypeError, match="required positional argument"):
        package()


@pytest.mark.slow
def test_importing_any_module_changes_nothing() -> None:
    code = """
import importlib, pkgutil
import accelerate.utils, cv2, datasets, imagecodecs, jinja2, matplotlib.style, pydicom, rich.style
import scipy.special, timm, torch, torchvision.models.detection, transformers, typer
from process_state import changes, state_of_process
before = state_of_process()
import cxrssl
for module in pkgutil.walk_packages(cxrssl.__path__, "cxrssl."):
    if module.name != "cxrssl.__main__":
        importlib.import_module(module.name)
print(changes(before, state_of_process()))
"""
    assert output_of("-c", code, PYTHONPATH=PATHS) == "{}\n"


USER = """
import cxrssl
from cxrssl import finetune

detector = cxrssl.load_detector("runs/det")
reveal_type(detector("film.dcm"))
reveal_type(detector(["a.dcm", "b.dcm"], threshold=0.5))
reveal_type(detector("film.dcm").boxes.dtype)
reveal_type(cxrssl.open_store("s")[0].readers)
reveal_type(cxrssl.evaluate("a", "b"))
reveal_type(cxrssl.pretrain(cxrssl.recipe("pretrain/demo"), "out"))
reveal_type(finetune("finetune/demo", "out"))
cxrssl.pretrain(3, "out")
cxrssl.nothing
"""


@pytest.mark.slow
def test_mypy_sees_the_types(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    # With the settings of the project, what `make check` has found out is used again.
    done = run_python("-m", "mypy", tmp_path / "user.py", folder=ROOT)
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert lines[:-1] == [
        'note: Revealed type is "cxrssl.api.detector.Detections"',
        'note: Revealed type is "list[cxrssl.api.detector.Detections]"',
        'note: Revealed type is "numpy.dtype[numpy.float64]"',
        'note: Revealed type is "tuple[str, ...]"',
        'note: Revealed type is "cxrssl.api.scores.Scores"',
        'note: Revealed type is "pathlib.Path"',
        'note: Revealed type is "pathlib.Path"',
        'error: Argument 1 to "pretrain" has incompatible type "int"; expected '
        '"PretrainRecipe | FinetuneRecipe | Plan | str | PathLike[str]"  [arg-type]',
        'error: Module has no attribute "nothing"  [attr-defined]',
    ]


# --- images, stores, boxes


def test_read_dicom_returns_what_an_ingest_decodes(source: Path) -> None:
    file = min((source / "train").iterdir())
    expected = read_dicom(file, size_px=None).pixels
    found = cxrssl.read_dicom(str(file))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        cxrssl.read_dicom(file, size_px=64, fit="letterbox"),
        read_dicom(file, size_px=64, fit="letterbox").pixels,
    )


def test_read_dicom_warns_of_what_was_guessed(film: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(film)
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 500, 900, "NEW"
    file = tmp_path / "film.dcm"
    dataset.save_as(file)
    expected = read_dicom(file, size_px=None).warnings
    assert expected
    with pytest.warns(cxrssl.DecodeWarning) as caught:
        cxrssl.read_dicom(file)
    assert [str(entry.message) for entry in caught] == [f"film.dcm: {text}" for text in expected]
    assert {entry.filename for entry in caught} == {__file__}


def test_a_store_is_a_sequence_of_its_images(store_folder: Path, store: Store) -> None:
    images = cxrssl.open_store(store_folder)
    assert len(images) == len(store) == 30
    assert images.ids == tuple(image.image_id for image in store.images)
    assert [image.image_id for image in images] == list(images.ids)
    assert [image.image_id for image in images[2:5]] == list(images.ids[2:5])
    assert images[-1].image_id == images[images.ids[-1]].image_id == images.ids[-1]
    assert images.classes == store.classes
    assert images.size_px == 64
    assert len(images.to_pandas()) == len(store.findings)
    with pytest.raises(IndexError):
        images[30]
    with pytest.raises(ArgumentError, match=r"has no image 'x'. Its 30 images begin with"):
        images["x"]
    assert images.ids[3] in images
    assert images[3] in images
    assert images.index(images[3]) == 3
    assert "x" not in images
    for key in (1.5, True, None, b"x", [0, 1], slice("a", 3), slice(None, None, 0)):
        with pytest.raises(ArgumentError, match="a store has no image"):
            images[key]  # type: ignore[call-overload]


@pytest.mark.parametrize("policy", ["consensus", "majority:2", "wbf", "union"])
def test_images_have_the_pixels_and_boxes_that_a_training_sees(
    policy: str, store_folder: Path, store: Store
) -> None:
    images = cxrssl.open_store(store_folder)
    examples = examples_of(store, fusion=policy, iou=0.2)
    assert sum(len(example.readers) for example in examples) > 50
    for image, example in zip(images, examples, strict=True):
        np.testing.assert_array_equal(image.image, store.pixels(example.row))
        np.testing.assert_array_equal(image.boxes, example.reader_boxes)
        np.testing.assert_array_equal(image.boxes_original_px, example.reader_boxes_original_px)
        assert image.readers == example.readers
        assert set(image.looked) == set(example.looked)
        assert [store.classes.index(name) for name in image.labels] == [*example.reader_labels]
        fused = image.consensus(policy=policy, iou=0.2)
        np.testing.assert_array_equal(fused.boxes.astype(np.float32), example.boxes)
        np.testing.assert_array_equal(fused.support, example.support)
        assert [store.classes.index(name) for name in fused.labels] == [*example.labels]


def test_readers_boxes_are_fused() -> None:
    drawn = [[0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60], [0, 0, 10, 10]]
    labels, readers = ["b", "b", "b", "a"], ["R1", "R2", "R2", "R1"]
    fused = cxrssl.fuse(drawn, labels, readers, iou=0.2)
    # By hand: two readers' boxes of class b overlap by 8/12, their mean is (0, 1, 10, 11).
    assert fused.labels == ("a", "b", "b")
    assert fused.boxes.tolist() == [[0, 0, 10, 10], [0, 1, 10, 11], [50, 50, 60, 60]]
    assert fused.support.tolist() == [1, 2, 1]
    assert fused.box_of_mark.tolist() == [1, 1, 2, 0]
    assert len(cxrssl.fuse(drawn, labels, readers, policy="majority:2")) == 1
    assert len(cxrssl.fuse(drawn, labels, readers, images=[0, 1, 1, 0])) == 4
    assert len(cxrssl.fuse([], [], [])) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], ["a"], []), "1 boxes, 1 labels, 0 readers"),
        (lambda: cxrssl.fuse([[0, 0, 0, 1]], ["a"], ["R"]), r"1 box\(es\) without an area"),
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], ["a"], ["R"], policy="x"), "fusion 'x' is unknown"),
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], ["a"], ["R"], iou=1), "iou is 1; expected"),
        (lambda: cxrssl.fuse([[1, 2, 3]], ["a"], ["R"]), r"boxes have shape \[1, 3\]; expected"),
        (lambda: cxrssl.fuse([1, 2, 3, 4], ["a"], ["R"]), r"boxes have shape \[4\]; expected"),
        (
            lambda: cxrssl.fuse(np.tile([0, 0, 1, 1], (2, 2)), ["a"] * 4, ["R"] * 4),
            r"boxes have shape \[2, 8\]; expected \[N, 4\] numbers",
        ),
        (lambda: cxrssl.fuse([[0, 0, 1, 1], [2]], [], []), "boxes are not an array of numbers"),
        (lambda: cxrssl.read_dicom("absent.dcm"), r"absent\.dcm: "),
        (lambda: cxrssl.open_store("absent"), "absent"),
        (lambda: cxrssl.load_detector("absent"), "absent is not a detector"),
        (lambda: cxrssl.ingest("a", "b", size_px=8), "size_px is 8; expected .* 16 to 8192"),
        (lambda: cxrssl.ingest("a", "b", size_px=64.0), r"size_px is 64\.0; expected an integer"),
        (lambda: cxrssl.ingest("a", "b", num_workers=1.5), r"num_workers is 1\.5; expected"),
        (lambda: cxrssl.read_dicom("a", size_px=0), "size_px is 0; expected an integer"),
        (lambda: cxrssl.read_dicom("a", fit="x"), "fit is 'x'; expected squash, letterbox"),
        (lambda: cxrssl.load_detector("a", device="gpu"), "device is 'gpu', which torch can't"),
        (lambda: cxrssl.load_detector("a", device="cuda:9"), "device is 'cuda:9', which torch"),
        (lambda: cxrssl.load_detector(None), "checkpoint is None; expected a path or"),
        (lambda: cxrssl.evaluate({}, [], seed=-1), "seed is -1; expected an integer >= 0"),
        (lambda: cxrssl.ingest("a", "b", fit="crop"), "fit is 'crop'; expected squash, letterbox"),
        (lambda: cxrssl.ingest("a", "b", num_workers=0), "num_workers is 0; expected an integer"),
        (lambda: cxrssl.predict("a", "b", "c", threshold=2), "threshold is 2; expected"),
        (lambda: cxrssl.predict([], "b", "c"), "no detector is named: checkpoint is empty"),
        (lambda: cxrssl.predict("a", [], "c"), "no input is named: inputs is empty"),
        (lambda: cxrssl.predict("a", 3, "c"), "inputs is 3; expected a path or a list of paths"),
        (lambda: cxrssl.predict("a", "b", "c", formats="tsv"), "formats is 'tsv'; expected coco"),
        (lambda: cxrssl.predict("a", "b", "c", formats=[]), "formats is empty; expected .*csv"),
        (lambda: cxrssl.evaluate({}, [], replicates=10), "replicates is 10; .* 50 and more"),
        (lambda: cxrssl.evaluate({}, [], consensus_iou=0), "consensus_iou is 0; expected"),
        (lambda: cxrssl.evaluate({"a": b"b"}, []), "truth are not the content of a COCO file"),
        (lambda: cxrssl.recipe("pretrain/demu"), "Did you mean pretrain/demo"),
        (lambda: cxrssl.recipe("pretrain/demo", **{"data.stor": 1}), "Did you mean data.store"),
        (
            lambda: cxrssl.recipe("pretrain/demo", data_store="st"),
            r"^'data_store=\"st\"': a recipe has no key data_store\. Did you mean data\.store\? A "
            r'dotted name is given so: recipe\(name, \*\*\{"data\.store"',
        ),
        (lambda: cxrssl.recipe(None), "None is not the name of a recipe. Give the path"),
        (lambda: cxrssl.recipe(3), "3 is not the name of a recipe"),
        (lambda: cxrssl.recipe("pretrain/demo", epochs={1}), r"epochs is \{1\}, a set, which a"),
        (lambda: cxrssl.recipe("pretrain/demo", epochs=np.ones(2)), r"epochs is array\(\[1., 1.\]"),
        (lambda: cxrssl.recipe("pretrain/demo", seed=np.longdouble(1)), "seed is .*longdouble"),
        (lambda: cxrssl.recipe("pretrain/demo", **{"data.x": 1}), r"no key data\.x\.( Did .*\?)?$"),
        (lambda: cxrssl.pretrain("finetune/smoke", "x"), "cxrssl finetune finetune/smoke"),
        (
            lambda: cxrssl.finetune(cxrssl.recipe("plans/smoke"), "x"),
            "got a plan, and a fine-tuning recipe is expected. Give it to cxrssl.reproduce",
        ),
        (lambda: cxrssl.finetune(3, "x"), "3 is not a recipe. Give a file, a name or cxrssl"),
        (lambda: cxrssl.reproduce("smoke", "x", executor="gpu"), "expected local, slurm"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_on_the_command_line(
    call: Callable[[], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cxrssl.CxrsslError, match=message):
        call()
    assert [*tmp_path.iterdir()] == []


CALLS: dict[str, dict[str, Any]] = {
    "evaluate": {"truth": "t", "predictions": "p"},
    "finetune": {"recipe": "finetune/smoke", "out": "o"},
    "fuse": {"boxes": [[0, 0, 1, 1]], "labels": ["a"], "readers": ["r"]},
    "ingest": {"source": "s", "store": "t"},
    "load_detector": {"checkpoint": "c"},
    "open_store": {"folder": "f"},
    "predict": {"checkpoint": "c", "inputs": "i", "out": "o"},
    "pretrain": {"recipe": "pretrain/smoke", "out": "o"},
    "read_dicom": {"path": "p"},
    "recipe": {"name": "n"},
    "reproduce": {"plan": "smoke", "executor": "none"},
}


@pytest.mark.parametrize("name", CALLS)
def test_no_argument_of_another_kind_shows_python_s_own_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, given = getattr(cxrssl, name), CALLS[name]
    for argument, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        for wrong in (None, object(), b"x", "x", 99.5, -1, float("nan"), [None], [-1], {"x": 1}):
            with suppress(cxrssl.CxrsslError):
                function(**given | {argument: wrong})
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cxrssl.evaluate({}, [], replicates=99.5), "replicates is 99.5; expected an integ"),
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], ["a"], ["r"], images=[-1]), "images has -1; expected"),
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], ["a"], ["r"], images=["x"]), "images are of shape"),
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], "a", ["r"]), "labels is 'a'; expected a list of text"),
        (lambda: cxrssl.fuse([[0, 0, 1, 1]], ["a"], [3]), r"readers\[0\] is 3; expected text"),
        (lambda: cxrssl.load_detector("c", flip="no"), "flip is 'no'; expected True or False"),
        (lambda: cxrssl.predict("c", "i", "o", resume="no"), "resume is 'no'; expected True or"),
        (lambda: cxrssl.fuse([[0, 0, 1e200, 1]], ["a"], ["r"]), "some beyond 1e[+]100"),
        (lambda: cxrssl.fuse(np.ma.masked_less([[0, 0, 1, 1]], 1), ["a"], ["r"]), "masked values"),
        (lambda: cxrssl.ingest("s", "t", size_px="64"), "size_px is '64'; expected an integer"),
        (lambda: cxrssl.ingest("s", "t", size_px=torch.tensor(64)), "size_px is tensor"),
        (lambda: cxrssl.open_store("a\0b"), "a path has no NUL in it"),
        (lambda: cxrssl.recipe("pretrain/smoke", **{"seed=1": 2}), "'seed=1' is not the name of a"),
        (lambda: cxrssl.load_detector(["a", None]), r"checkpoint\[1\] is None; expected a path"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(1), 1])
def test_numbers_of_numpy_are_numbers(number: np.number[Any] | int) -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10]]
    fused = cxrssl.fuse(np.array(boxes), np.array(["a", "a"]), ["q", "r"], iou=number / 2)
    assert fused.support.tolist() == [2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda long: cxrssl.open_store(long), "File name too long"),
        (lambda long: cxrssl.load_detector(long), "File name too long"),
        (lambda long: cxrssl.ingest("s", long), "File name too long"),
        (lambda long: cxrssl.evaluate(long, long), "File name too long"),
        (lambda _: cxrssl.finetune("finetune/smoke", "/proc/x"), "/proc/x can't be made"),
        (lambda _: cxrssl.pretrain("pretrain/smoke", "a\udcffb"), "is not valid UTF-8. Name anoth"),
    ],
)  # fmt: skip
def test_faults_of_paths_are_told(
    call: Callable[[str], object], message: str, store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrssl.api.runs.load_recipe", with_store(store_folder))
    with pytest.raises(cxrssl.CxrsslError, match=message):
        call("x" * 300)


def with_store(folder: Path) -> Callable[..., object]:
    """Return a reader of recipes whose data are in a store."""

    def read(path: Path, kind: Any, *, overrides: list[str]) -> object:  # noqa: ANN401 - a recipe
        return load_recipe(path, kind, overrides=[*overrides, f"data.store={folder}"])

    return read


def test_a_deleted_current_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(RunError, match="the current folder has been deleted"):
        cxrssl.ingest(source, tmp_path / "store", size_px=64)
    assert not (tmp_path / "store").exists()


def test_trainings_of_two_threads_are_those_of_one(store_folder: Path, tmp_path: Path) -> None:
    changes = {"data.store": store_folder, "max_steps": 2, "batch_size": 4}
    recipe = cxrssl.recipe("pretrain/smoke", **changes)
    with ThreadPoolExecutor(2) as threads:
        runs = [*threads.map(lambda name: cxrssl.pretrain(recipe, tmp_path / name), "ab")]
    first, second = ((run / "model.safetensors").read_bytes() for run in runs)
    assert first == second
    alone = cxrssl.pretrain(recipe, tmp_path / "alone")
    assert first == (alone / "model.safetensors").read_bytes()


def test_a_wrong_argument_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="iou is 2"):
        cxrssl.fuse([], [], [], iou=2)


# --- recipes and runs


def test_a_recipe_stays_as_it_is() -> None:
    recipe = cxrssl.recipe("pretrain/smoke")
    with pytest.raises(cxrssl.CxrsslError, match=r'recipe\(NAME, \*\*\{"epochs": 3\}\)'):
        recipe.epochs = 3  # type: ignore[union-attr]


def test_a_recipe_is_the_command_line_s(store_folder: Path) -> None:
    changes = {"data.store": store_folder, "epochs": 3, "batch_size": 4}
    path = ROOT / "recipes/pretrain/smoke.yaml"
    expected = load_recipe(
        path, PretrainRecipe, overrides=[f"data.store={store_folder}", "epochs=3", "batch_size=4"]
    )
    assert cxrssl.recipe("pretrain/smoke", **changes) == expected
    assert cxrssl.recipe(path, **changes) == expected


@pytest.mark.parametrize("scalar", [np.int64, np.uint8, np.array, torch.tensor])
def test_a_recipe_takes_scalars_of_numpy_and_torch(scalar: Callable[[int], object]) -> None:
    recipe = cxrssl.recipe("pretrain/smoke", epochs=scalar(3), seed=scalar(5))
    assert recipe == cxrssl.recipe("pretrain/smoke", epochs=3, seed=5)


@pytest.mark.parametrize("out", ["t.txt", "t.txt/run", "to_nothing"])
def test_a_run_is_not_begun_in_a_file(out: str, store_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("mine")
    (tmp_path / "to_nothing").symlink_to(tmp_path / "absent")
    recipe = cxrssl.recipe("pretrain/smoke", **{"data.store": store_folder})
    with pytest.raises(RunError, match=r"(t\.txt|to_nothing) is a file; expected a new folder"):
        cxrssl.pretrain(recipe, tmp_path / out)
    with pytest.raises(RunError, match=r"(t\.txt|to_nothing) is a file; expected a new folder"):
        cxrssl.reproduce("smoke", tmp_path / out)
    assert (tmp_path / "t.txt").read_text() == "mine"


@pytest.mark.slow
def test_an_interrupted_training_goes_on_in_the_same_process(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = finetune_recipe(store_folder, "max_steps=4", "checkpoint_every_steps=1")
    expected = cxrssl.finetune(recipe, tmp_path / "whole")

    def stops(_meter: Meter, done: int, _note: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "at", stops)
        with pytest.raises(KeyboardInterrupt) as held:
            cxrssl.finetune(recipe, tmp_path / "cut")
    assert held.tb is not None  # as a notebook holds it
    with pytest.raises(RunError, match=r"has not ended\. Go on with --resume"):
        cxrssl.finetune(recipe, tmp_path / "cut")
    found = cxrssl.finetune(recipe, tmp_path / "cut", resume=True)
    weights = "model.safetensors"
    assert (found / weights).read_bytes() == (expected / weights).read_bytes()


# --- detection and scores


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    save_detector(small_detector(rcnn()), folder)
    return folder


@pytest.fixture(scope="module")
def detector(checkpoint: Path) -> cxrssl.Detector:
    return cxrssl.load_detector(checkpoint)


@pytest.fixture(scope="module")
def film(source: Path) -> Path:
    return min((source / "train").iterdir())


@pytest.mark.parametrize("flip", [False, True])
def test_a_call_finds_what_predict_writes(
    flip: bool, checkpoint: Path, film: Path, tmp_path: Path
) -> None:
    detector = cxrssl.load_detector([checkpoint], flip=flip)
    png = tmp_path / "film.png"
    Image.fromarray(cxrssl.read_dicom(film)).save(png)
    summary = cxrssl.predict(
        checkpoint, [film, png], tmp_path / "out", threshold=0.1, formats="coco", flip=flip
    )
    assert summary.num_files == 2
    assert summary.formats == ("coco",)
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    names = {entry["id"]: entry["name"] for entry in written["categories"]}
    assert tuple(names.values()) == detector.classes
    for place, found in enumerate(detector([film, str(png)], threshold=0), start=1):
        entries = [a for a in written["annotations"] if a["image_id"] == place]
        assert len(found) == len(entries) > 3
        boxes = np.array([entry["bbox"] for entry in entries])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(found.boxes, boxes, atol=0.011)
        np.testing.assert_allclose(found.scores, [e["score"] for e in entries], atol=1e-5)
        assert found.labels == tuple(names[entry["category_id"]] for entry in entries)


def test_what_looks_wrong_is_with_the_detections_and_a_warning(
    detector: cxrssl.Detector, tmp_path: Path
) -> None:
    file = tmp_path / "blank.png"
    Image.fromarray(np.full((80, 90), 7, np.uint8)).save(file)
    with pytest.warns(cxrssl.DecodeWarning, match=r"^blank\.png: ") as caught:
        found = detector(file)
    assert [f"blank.png: {text}" for text in found.warnings] == [str(w.message) for w in caught]
    assert {entry.filename for entry in caught} == {__file__}


def test_a_call_takes_a_path_an_array_or_several(detector: cxrssl.Detector, film: Path) -> None:
    pixels = cxrssl.read_dicom(film)
    found = detector(film, threshold=0)
    assert (found.height, found.width) == pixels.shape
    table = found.to_pandas()
    assert [*table.columns] == ["file", "class", "score", "x_min", "y_min", "x_max", "y_max"]
    assert len(table) == len(found)
    middle = float(np.median(found.scores))
    strong = detector(film, threshold=middle)
    assert 0 < len(strong) < len(found)
    assert strong.scores.min() >= middle
    of_array, of_path = detector([pixels, film], threshold=0)
    np.testing.assert_array_equal(of_path.boxes, found.boxes)
    assert (of_array.height, of_array.width) == pixels.shape
    assert str(of_array.file) == "array"
    assert detector([]) == []
    drawn = found.show()
    assert drawn.size == of_array.show().size
    assert np.asarray(drawn).std(axis=2).max() > 30  # coloured boxes on a grey image
    assert found._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("absent.png", r"absent\.png: "),
        (np.zeros((4, 4)), r"shape \[4, 4\] and type float64; expected grey levels \[H, W\] uint8"),
        (np.zeros((4, 4, 3), np.uint8), r"shape \[4, 4, 3\]"),
        (np.zeros((0, 4), np.uint8), r"shape \[0, 4\]"),
        (Image.new("L", (4, 4)), r"got PIL\.Image\.Image; .* np\.asarray\(image\.convert"),
        (torch.zeros(4, 4, dtype=torch.uint8), r"got torch\.Tensor; .* tensor\.numpy\(\)"),
        (None, "got NoneType; expected the path of an image file"),
        (b"film.png", "got bytes; expected the path of an image file"),
    ],
)
def test_what_is_no_image_is_told(
    image: object, message: str, detector: cxrssl.Detector, film: Path
) -> None:
    with pytest.raises(cxrssl.CxrsslError, match=message):
        detector([film, image])  # type: ignore[list-item]
    with pytest.raises(cxrssl.CxrsslError, match=message):
        detector(image)  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="threshold is 30"):
        detector(film, threshold=30)


TRUTH = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 100, "height": 100},
        {"id": 9, "file_name": "b.png", "width": 100, "height": 100},
    ],
    "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40]},
        {"id": 2, "image_id": 9, "category_id": 2, "bbox": [50, 50, 20, 20]},
    ],
}
RESULTS = [
    {"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 30], "score": 0.9},
    {"image_id": 9, "category_id": 2, "bbox": [0, 0, 20, 20], "score": 0.8},
]


def test_objects_are_scored_as_files(tmp_path: Path) -> None:
    for name, content in (("truth", TRUTH), ("results", RESULTS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = tmp_path / "results.json", tmp_path / "truth.json"
    expected = evaluate_files(*files, consensus_iou=0.2, bootstrap=Bootstrap(50, 1))
    found = cxrssl.evaluate(TRUTH, RESULTS, replicates=50, seed=1)
    assert found.content == expected
    again = cxrssl.evaluate(files[1], str(files[0]), replicates=50, seed=1)
    assert again.content == expected
    # By hand: class a is found with an overlap of 0.75, class b is not.
    assert found["AP50"] == 0.5
    assert found.interval("AP50") == tuple(expected["metrics"]["AP50"][k] for k in ("low", "high"))
    assert found.to_pandas().loc["AP50", "value"] == 0.5
    assert found.per_class().loc[("a", "AP50"), "value"] == 1
    assert "AP50" in found._repr_html_()
    assert "AP50" in found
    assert "AP55" not in found
    assert dict(found) == {name: entry["value"] for name, entry in expected["metrics"].items()}
    assert len(found) == len(found.to_pandas())
    for look_up in (found.__getitem__, found.interval):
        with pytest.raises(KeyError) as error:
            look_up("AP55")
        assert isinstance(error.value, cxrssl.CxrsslError)
        assert re.match(r"there is no score 'AP55'\. Did you mean .*AP50.*\?", str(error.value))


def test_messages_name_an_object_and_no_file_of_ours(tmp_path: Path) -> None:
    odd = [{"image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]
    with pytest.raises(DataError, match=r"^predictions \(as given\)") as error:
        cxrssl.evaluate(TRUTH, odd)
    assert "cxrssl-" not in str(error.value)
    renamed = TRUTH | {"annotations": [{**TRUTH["annotations"][0], "ignore": 1}]}
    warned = cxrssl.evaluate(renamed, RESULTS, replicates=0)
    texts = " ".join([*warned.content["notes"], *warned.warnings])
    assert "truth (as given): 1 annotation(s)" in texts
    assert "cxrssl-" not in texts


def test_what_a_detector_returned_is_scored_by_file_name(
    detector: cxrssl.Detector, film: Path
) -> None:
    found = detector([film], threshold=0)
    best = found[0].findings[0]
    x0, y0, x1, y1 = best.box
    truth = {
        "images": [{"id": 3, "file_name": film.name}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(detector.classes)],
        "annotations": [
            {
                "id": 1,
                "image_id": 3,
                "category_id": detector.classes.index(best.label),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
        ],
    }
    for wrong in (found[0], detector):
        with pytest.raises(ArgumentError, match="Give what the detector returned for a list of"):
            cxrssl.evaluate(truth, wrong)  # type: ignore[arg-type]
    scores = cxrssl.evaluate(truth, found, replicates=0)
    assert scores.content["n_detections"] == len(found[0])
    assert scores["AP75"] == 1  # its best box is the only true one
    assert not any("threshold" in text for text in scores.warnings)
    cut = cxrssl.evaluate(truth, detector([film], threshold=0.01), replicates=0)
    assert any("was called with threshold=0.01" in text for text in cut.warnings)


def test_a_store_is_scored_with_one_detector_alone(store_folder: Path, checkpoint: Path) -> None:
    with pytest.raises(ArgumentError, match="whose boxes are fused are not scored on a store"):
        cxrssl.evaluate(store_folder, cxrssl.load_detector(checkpoint, flip=True))
    with pytest.raises(ArgumentError, match="no detector is named: checkpoint is empty"):
        cxrssl.load_detector([])
    with pytest.raises(ArgumentError, match="a store is scored with a detector; got list"):
        cxrssl.evaluate(store_folder, RESULTS)
    with pytest.raises(ArgumentError, match="split is 'exam'; expected train, val, test"):
        cxrssl.evaluate(store_folder, "runs/det", split="exam")
    with pytest.raises(ArgumentError, match="readers are those of the store"):
        cxrssl.evaluate(cxrssl.open_store(store_folder), "runs/det", readers=TRUTH)


# --- a notebook: everything twice in one process that has settings of its own

NOTEBOOK = """
import json, logging, resource, sys
import cv2, pydicom, random, torch
random.seed(5)
torch.manual_seed(77)
torch.set_num_threads(2)
torch.set_grad_enabled(False)
torch.backends.cudnn.benchmark = True
torch.set_float32_matmul_precision("high")
cv2.setNumThreads(2)
logging.getLogger("pydicom").setLevel(logging.ERROR)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(300, limit[1]), limit[1]))
from process_state import changes, state_of_process
import cxrssl
store, film, out = sys.argv[1:4]
backbones = []
for turn in ("first", "second"):
    folder = f"{out}/{turn}"
    before = state_of_process()
    drawn = torch.rand(3)
    torch.manual_seed(77)
    def check(call):
        found = changes(before, state_of_process())
        assert not found, (turn, call, found)
    recipe = cxrssl.recipe("pretrain/smoke", **json.loads(sys.argv[4]))
    backbone = cxrssl.pretrain(recipe, f"{folder}/pre")
    check("pretrain")
    recipe = cxrssl.recipe("finetune/smoke", **json.loads(sys.argv[5]))
    cxrssl.finetune(recipe, f"{folder}/det")
    check("finetune")
    detector = cxrssl.load_detector(f"{folder}/det")
    check("load_detector")
    detector(film, threshold=0).show()
    check("detector")
    cxrssl.evaluate(store, detector, replicates=50)
    check("evaluate")
    cxrssl.predict(f"{folder}/det", film, f"{folder}/found")
    check("predict")
    cxrssl.ingest(sys.argv[6], f"{folder}/store", size_px=32, num_workers=1)
    check("ingest")
    cxrssl.read_dicom(film, size_px=32)
    cxrssl.open_store(store)[0].consensus()
    check("light calls")
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(77)
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
start = faults()
for _ in range(4): torch.ones(25_000_000)
print(faults() - start)
"""


@pytest.mark.slow
def test_a_notebook_keeps_its_settings_and_has_the_losses_of_the_command_line(
    source: Path, store_folder: Path, film: Path, tmp_path: Path
) -> None:
    changes_of = {
        "pretrain": {"data.store": str(store_folder), "epochs": 1, "batch_size": 8},
        "finetune": {
            "data.store": str(store_folder), "max_steps": 2, "model.score_threshold": 0.0,
        },
    }  # fmt: skip
    texts = [json.dumps(own) for own in changes_of.values()]
    arguments = [store_folder, film, tmp_path, *texts, source]
    mapped = output_of("-c", NOTEBOOK, *arguments, PYTHONPATH=PATHS)
    # 100 MB four times are 98,000 pages where the kernel gives each anew, as it does by default.
    assert int(mapped.splitlines()[-1]) > 50_000
    for task, name in (("pretrain", "pre"), ("finetune", "det")):
        options = [
            part for key, value in changes_of[task].items() for part in ("--set", f"{key}={value}")
        ]
        recipe = ROOT / f"recipes/{task}/smoke.yaml"
        arguments = [task, str(recipe), *options, "--out", str(tmp_path / name)]
        program = "import sys, torch; torch.set_num_threads(2); from cxrssl.cli import main; main()"
        output_of("-c", program, *arguments)
        logs = [
            (tmp_path / turn / name / "metrics.jsonl").read_text() for turn in ("first", "second")
        ]
        assert logs == [(tmp_path / name / "metrics.jsonl").read_text()] * 2


# --- the docs

DOCS = (ROOT / "docs/api.md").read_text()
BLOCKS = [part.partition("```")[0] for part in DOCS.split("```python\n")[1:]]
LONG = "cxrssl.reproduce("


@pytest.mark.slow
def test_the_examples_of_the_docs_run(
    source: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").symlink_to(source)
    (tmp_path / "film.dcm").symlink_to(film)
    before = state_of_process()
    names: dict[str, object] = {}
    assert len(BLOCKS) == 6
    for block in BLOCKS:
        if LONG not in block:
            exec(compile(block, "docs/api.md", "exec"), names)
    assert (tmp_path / "runs/found/predictions.json").is_file()
    assert changes(before, state_of_process()) == {}


def test_the_examples_show_every_call() -> None:
    calls = [
        node
        for block in BLOCKS
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call)
    ]
    named = {
        node.func.attr: node
        for node in calls
        if isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "cxrssl"
    }
    assert set(named) == {name for name in cxrssl._MODULE_OF if name.islower()}
    long = named["reproduce"]
    keywords = {str(word.arg): word.value for word in long.keywords}
    inspect.signature(cxrssl.reproduce).bind(*long.args, **keywords)
