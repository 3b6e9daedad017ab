"""Summary at the end of a training: scores, time, how to load the product, the next command."""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cxrssl.cli.show_gate import gate_rows
from cxrssl.config.catalogue import packaged_recipes
from cxrssl.core.duration import duration
from cxrssl.core.printable import printable
from cxrssl.core.records import read_record, reading
from cxrssl.core.yaml_text import read_yaml

_SCORES = ("AP", "AP50")
# A fraction above which more workers are likely to help.
_MUCH_WAITING = 0.2
Rows = list[tuple[str, str]]


def print_pretraining(run: Path, store: Path) -> None:
    """Print the summary of a pretraining on stderr.

    Args:
        run: Folder of the finished run.
        store: Store of its images.
    """
    path, backbone = run / "metrics.json", run / "backbone"
    metrics = read_record(path, "loss", "rankme", "rankme_start")
    with reading(path):
        chance = metrics.get("chance_loss")
        against = "" if chance is None else f" (a representation without information: {chance:.4g})"
        rank = f"{metrics['rankme']:.1f} dimensions, {metrics['rankme_start']:.1f} at the start"
        rows = [("loss", f"{metrics['loss']:.4g}{against}"), ("RankMe", rank)]
        if "probe_auroc" in metrics:
            rows.append(("probe AUROC", _probe(metrics)))
    load = f'timm.create_model("local-dir:{backbone}", pretrained=True)'
    architecture = str(read_record(backbone / "config.json")["architecture"])
    name = _finetuning_for(architecture, _most_similar_packaged(run / "recipe.yaml"))
    next_command = _command(
        *("finetune", name, "--set", f"data.store={_labelled_store(store)}"),
        *("--set", f"init.backbone={backbone}", "--out", "RUN"),
    )
    _print(f"pretrained: {run}", [*rows, *_time(run)], [("load", load), ("next", next_command)])


def print_finetuning(run: Path, store: Path) -> None:
    """Print the summary of a fine-tuning on stderr; `run` is the folder of the finished run."""
    path = run / "metrics.json"
    metrics = read_record(path, "metrics", "n_images")
    with reading(path):
        scored = [(name, _score(metrics["metrics"][name])) for name in _SCORES]
        images = f"{metrics['n_images']} test images"
        rows = [(name, f"{text}, {images}") for name, text in scored]
        rows += gate_rows(metrics)
        if "unlabelled" in metrics:
            rows.append(("pseudo boxes", _pseudo_boxes(metrics["unlabelled"]["pseudo_boxes"])))
        if "prior" in metrics:
            rows.append(("fixed boxes", str(metrics["prior"]["verdict"])))
    load = (
        f'transformers.pipeline("object-detection", model="{run / "detector"}", '
        "trust_remote_code=True)"
    )
    commands = [
        ("load", load),
        ("next", _command("predict", str(run), "FILES", "--out", "found")),
        ("all scores", _command("eval", str(run), "--data", str(store))),
    ]
    _print(f"fine-tuned: {run}", [*rows, *_time(run)], commands)


def print_next_after_ingest(store: Path, *, has_boxes: bool) -> None:
    """Print on stderr the next commands for a store; one without boxes is for pretraining alone."""
    data = ("--set", f"data.store={store}", "--out", "RUN")
    rows = [("next", _command("pretrain", "RECIPE", *data))]
    if has_boxes:
        rows.append(("or", _command("finetune", "RECIPE", *data)))
    _print_plain([*rows, ("RECIPE", "a file, or a name that `cxrssl recipes` lists")])


def _score(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return f"not defined ({entry['reason']})"
    interval = ""
    if entry["low"] is not None:
        interval = f" [{entry['low']:.3f}, {entry['high']:.3f}] (95 %)"
    return f"{entry['value']:.3f}{interval}"


def _probe(metrics: Mapping[str, Any]) -> str:
    """Return how well findings can be read off the features, in words."""
    start = metrics.get("probe_auroc_start")  # a run that an earlier version began has none
    before = "" if start is None else f", {start:.3f} at the start"
    return (
        f"{metrics['probe_auroc']:.3f}{before} (chance: 0.5; findings counted: "
        f"{metrics['probe_findings']})"
    )


def _pseudo_boxes(found: Mapping[str, Any]) -> str:
    """Return what a teacher's boxes were worth, in words."""
    seen = f"in {found['images']} images of the steps that were logged"
    if not found["boxes_per_image"]:
        return f"none {seen}: images without labels taught at most what background is"
    text = f"{found['boxes_per_image']:.2f} an image {seen}"
    if found["precision"] is None:
        return text
    recall = "" if found["recall"] is None else f", recall {found['recall']:.2f}"
    return f"{text}; against hidden boxes precision {found['precision']:.2f}{recall}"


def _time(run: Path) -> Rows:
    """Return the row of the loop's time and waiting time, none for runs of earlier versions."""
    path = run / "timing.json"
    if not path.is_file():
        return []
    timing = read_record(path, "steps", "seconds", "share_waiting_for_data")
    with reading(path):
        share = float(timing["share_waiting_for_data"])
        waiting = f"{share:.0%} of it waiting for images"
        if share > _MUCH_WAITING:
            waiting += " (more data.num_workers may help)"
        took = duration(float(timing["seconds"]))
        return [("time", f"{took} for {timing['steps']} steps, {waiting}")]


def _most_similar_packaged(path: Path) -> str:
    """Return the packaged pretraining recipe with most sections equal to those of a run's."""
    content = read_yaml(path)

    def num_equal(file: Path) -> int:
        other = read_yaml(file)
        if not isinstance(content, dict) or not isinstance(other, dict):
            return 0
        return sum(other.get(key) == value for key, value in content.items())

    recipes = [recipe for recipe in packaged_recipes() if recipe.task == "pretrain"]
    return max(recipes, key=lambda recipe: num_equal(recipe.path)).name


def _finetuning_for(architecture: str, name: str) -> str:
    """Return the packaged fine-tuning recipe of a backbone whose name is most similar to `name`."""
    fitting = [
        recipe.name
        for recipe in packaged_recipes()
        if recipe.task == "finetune" and _backbone_of(recipe.path) == architecture
    ]

    def likeness(full: str) -> float:
        return difflib.SequenceMatcher(None, name[::-1], full[::-1]).ratio()

    return max(fitting, key=likeness, default="RECIPE")


def _backbone_of(recipe: Path) -> str | None:
    content = read_yaml(recipe)
    model = content.get("model") if isinstance(content, dict) else None
    return model.get("backbone") if isinstance(model, dict) else None


def _labelled_store(store: Path) -> str:
    """Return a pretraining's store for its fine-tuning, or a placeholder if it has no boxes."""
    manifest = store / "manifest.json"
    has_boxes = manifest.is_file() and bool(read_record(manifest).get("classes"))
    return str(store) if has_boxes else "STORE"


def _command(*arguments: str) -> str:
    return shlex.join(["cxrssl", *arguments])


def _print(title: str, results: Rows, commands: Rows) -> None:
    """Print results, in a panel on a terminal, and below it the commands, a line each."""
    console = Console(stderr=True, highlight=False, emoji=False)
    if console.is_terminal:
        grid = Table.grid(padding=(0, 2))
        for name, text in results:
            grid.add_row(Text(name, "bold"), Text(printable(text)))
        console.print(Panel(grid, title=Text(printable(title)), title_align="left", expand=False))
    else:
        _print_plain([("", title), *results])
    _print_plain(commands)


def _print_plain(rows: Sequence[tuple[str, str]]) -> None:
    console = Console(stderr=True, highlight=False, emoji=False)
    for name, text in rows:
        line = f"{name}: {text}" if name else text
        console.print(printable(line), markup=False, soft_wrap=True)
