"""`cxrssl push`; heavy imports wait."""

from pathlib import Path
from typing import Annotated

import typer

from cxrssl.cli.options import app, say


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="A pretrain or finetune run, or a store.")],
    repo: Annotated[str, typer.Argument(help="ORG/NAME on the Hub; made if it is not there.")],
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Data sets are private if not given."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card and the files; send nothing.")
    ] = False,
    revision: Annotated[str, typer.Option(help="Branch; made if it is not there.")] = "main",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of what is there.")
    ] = False,
    license_: Annotated[
        str, typer.Option("--license", help="The Hub's name of it, such as cc-by-4.0.")
    ] = "other",
    images: Annotated[
        bool, typer.Option("--images", help="Of a store: its pixels too, not the boxes alone.")
    ] = False,
    right: Annotated[
        bool,
        typer.Option(
            "--i-have-the-right-to-share-images", help="Your word, where terms may forbid it."
        ),
    ] = False,
) -> None:
    """Put a backbone, a detector or a data set on the Hugging Face Hub, with a card."""
    from cxrssl.push import Wanted
    from cxrssl.push import push as run_push

    wanted = Wanted(private, revision, replace, license_, images, right, dry_run)
    found = run_push(run, repo, wanted)
    if found.published is None:
        say(found.card)
        for path, size in found.sizes.items():
            say(f"{size:>12,}  {path}", err=True)
        seen = {
            True: "private",
            False: "public",
            None: "public if it is new, unless its owner's are private by default",
        }[found.private]
        say(f"Nothing was sent. {repo} ({found.parcel.what}, {seen})", err=True)
        return
    done = found.published
    say(f"{done.url} ({'pushed' if done.is_new else 'was there already'})")
    say(f"commit {done.commit}, tag {done.tag}")
