"""`cxrssl weights imagenet` and `cxrssl weights coco`; heavy imports wait until one runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrssl.cli.options import app, say

if TYPE_CHECKING:
    from cxrssl.weights import Written

weights = typer.Typer(
    no_args_is_help=True,
    help="Write initial weights to a file that recipes name, for machines without a network.",
)
app.add_typer(weights, name="weights")

OutFile = Annotated[Path, typer.Option("--out", help="File to write, NAME.safetensors.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a file that is there.")]


@weights.command()
def imagenet(
    architecture: Annotated[
        str, typer.Argument(help="timm's name, such as resnet50, or NAME.TAG for other weights.")
    ],
    out: OutFile,
    replace: Replace = False,
) -> None:
    """Write ImageNet weights of a backbone: from a package, a cache or the Hub, in this order."""
    from cxrssl.weights import write_imagenet

    _print(write_imagenet(architecture, out, replace=replace, say=_note), start="imagenet")


@weights.command()
def coco(out: OutFile, replace: Replace = False) -> None:
    """Write torchvision's COCO Faster R-CNN: from the cache of torch.hub, or its server."""
    from cxrssl.weights import write_coco

    _print(write_coco(out, replace=replace, say=_note), start="coco")


def _note(line: str) -> None:
    say(line, err=True)


def _print(written: "Written", *, start: str) -> None:
    """Print what was written and which fields of a recipe take it."""
    header = written.metadata
    say(
        f"{written.path}: {written.num_tensors} tensors of {header['architecture']}, "
        f"{written.num_bytes / 1e6:.1f} MB, from {header['source']} (licence: {header['license']})"
    )
    tag = header["timm_tag"]
    if start == "imagenet" and not tag.startswith("none") and "in1k" not in tag:
        say(f"The tag of these weights, {tag}, does not name ImageNet-1k.", err=True)
    for command, section in (("pretrain", "body"), ("finetune", "init")):
        say(
            f"{command}: --set {section}.start={start} --set {section}.weights={written.path}",
            err=True,
        )
