"""`cxrssl reproduce`: all arms of a plan, then the report. Called again, it goes on.

Each arm is a `cxrssl` command of its own, so that every run can be repeated by hand.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cxrssl.config.load import recipe_path, to_yaml
from cxrssl.config.plan import Plan
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_text
from cxrssl.run.arms import Arm, arms_of
from cxrssl.run.executor import Job, Outcome, run_jobs
from cxrssl.run.lock import sole_user


def reproduce(plan: Plan, out: Path, *, say: Callable[[str], None]) -> Path:
    """Run what is not done of a plan and return the report.

    Args:
        plan: Data, recipes, pools and seeds.
        out: Folder of all runs.
        say: Takes a line for the person who waits.

    Raises:
        RunError: If `out` belongs to another plan, or an arm failed; all others have run then.
    """
    _claim(out, plan)

    def wait() -> None:
        say(f"{out}: another `cxrssl reproduce`, or a run it began, is at work; waiting for it.")

    with sole_user(out, on_wait=wait) as held:
        return _run(plan, out, say, held)


def _run(plan: Plan, out: Path, say: Callable[[str], None], held: int) -> Path:
    jobs = list(plan_jobs(plan, out))
    report = jobs[-1].product
    done = sum(job.done for job in jobs)
    if done == len(jobs):
        say(f"{out} is complete, {done} of {done} jobs are done: nothing to do.")
        return report
    say(f"{plan.name}: {len(jobs)} jobs, {done} done before; logs in {out / 'logs'}")

    def tell(outcome: Outcome) -> None:
        nonlocal done
        done += outcome.ok
        end = "done" if outcome.ok else "FAILED"
        say(
            f"[{done}/{len(jobs)}] {outcome.job.name} {end} in {outcome.seconds:.0f} s"
            f"{_headline(outcome.job.product)}"
        )

    faults = run_jobs(jobs, out / "logs", on_end=tell, inherit=held)
    if faults:
        lines = "\n".join(f"  {name}: {reason}" for name, reason in faults.items())
        raise RunError(
            f"{len(faults)} of {len(jobs)} jobs are not done:\n{lines}\n"
            "Mend what the log says and call the same command: it goes on from here."
        )
    return report


def plan_jobs(plan: Plan, out: Path) -> Iterator[Job]:
    """Yield every job of a plan, the report last.

    What takes longest, or what others wait for, comes first, so that no place idles at the end.
    """
    store, arms = out / "store", arms_of(plan.pool_percents, plan.seeds)
    if plan.data.source is None:
        yield _phantom(plan, out)
    yield Job(
        "ingest",
        (
            *("ingest", str(plan.data.source or out / "phantom"), str(store)),
            *("--size", str(plan.data.size_px), "--fit", plan.data.fit),
        ),
        store / "manifest.json",
        needs=("phantom",),
    )
    yield from (_finetune(plan, out, arm) for arm in arms if arm.kind == "baseline")
    yield from (_pretrain(plan, out, arm) for arm in arms[::-1] if arm.kind == "ssl")
    yield from (_finetune(plan, out, arm) for arm in arms if arm.kind != "baseline")
    names = tuple(arm.name for arm in arms)
    yield Job("report", ("report", str(out)), out / "report.html", needs=names)


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


def _pretrain(plan: Plan, out: Path, arm: Arm) -> Job:
    changes = {"seed": arm.seed, "data.pool_fraction": arm.pool_percent / 100}
    return _training("pretrain", plan.pretrain, out, arm.pretraining, changes)


def _finetune(plan: Plan, out: Path, arm: Arm) -> Job:
    changes: dict[str, object] = {"seed": arm.seed, "data.label_fraction": arm.label_share}
    if arm.kind == "ssl":
        backbone = str(out / arm.pretraining / "backbone")
        changes["init.backbone"] = backbone
        return _training("finetune", plan.finetune, out, arm.name, changes, (arm.pretraining,))
    return _training("finetune", plan.finetune, out, arm.name, changes)


def _training(
    command: str,
    recipe: str,
    out: Path,
    name: str,
    changes: Mapping[str, object],
    needs: tuple[str, ...] = (),
) -> Job:
    settings = {"data.store": out / "store", **changes}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    folder = out / name
    arguments = (command, str(recipe_path(recipe)), *overrides, "--out", str(folder), "--resume")
    return Job(name, arguments, folder / "metrics.json", needs=("ingest", *needs))


def _claim(out: Path, plan: Plan) -> None:
    """Make `out` this plan's folder, and no other's."""
    path, text = out / "plan.yaml", to_yaml(plan)
    if not path.is_file():
        write_text(path, text)
    elif path.read_text() != text:
        raise RunError(
            f"{out} holds runs of another plan (see {path}). Name another folder with --out, "
            "or delete it to begin anew."
        )


def _headline(product: Path) -> str:
    if product.name != "metrics.json" or not product.is_file():
        return ""
    metrics = json.loads(product.read_text())
    if "metrics" not in metrics:
        return f", loss {metrics['loss']:.3f} (chance {metrics['chance_loss']:.3f})"
    value = metrics["metrics"]["AP50"]["value"]
    return f", AP50 {value:.3f}" if value is not None else ""
