"""`cxrssl push`; heavy imports wait until it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cxrssl.cli.options import app, say


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="A pretrain or finetune run, or a store.")],
    repo: Annotated[str, typer.Argument(help="ORG/NAME on the Hub; created if it does not exist.")],
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Visibility (default: data sets private)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card and the files; send nothing.")
    ] = False,
    revision: Annotated[str, typer.Option(help="Branch; created if it does not exist.")] = "main",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace other content on the branch.")
    ] = False,
    license_: Annotated[
        str, typer.Option("--license", help="The Hub's identifier, such as cc-by-4.0.")
    ] = "other",
    images: Annotated[
        bool, typer.Option("--images", help="Upload a store's images too, not only boxes.")
    ] = False,
    right: Annotated[
        bool,
        typer.Option(
            "--i-have-the-right-to-share-images", help="State this where the terms may forbid it."
        ),
    ] = False,
) -> None:
    """Put a backbone, a detector or a data set on the Hugging Face Hub, with a card."""
    from cxrssl.push import PushOptions
    from cxrssl.push import push as run_push

    options = PushOptions(private, revision, replace, license_, images, right, dry_run)
    pushed = run_push(run, repo, options)
    if pushed.published is None:
        say(pushed.card)
        for path, size in pushed.sizes.items():
            say(f"{size:>12,}  {path}", err=True)
        visibility = {
            True: "private",
            False: "public",
            None: "public if it is new, unless its owner's are private by default",
        }[pushed.private]
        say(f"Nothing was sent. {repo} ({pushed.product}, {visibility})", err=True)
        return
    published = pushed.published
    say(f"{published.url} ({'pushed' if published.is_new else 'was there already'})")
    say(f"commit {published.commit}, tag {published.tag}")
