"""Commands that exchange scores and lists with other programs."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.inspect import ScenarioName
from harness.cli.options import CACHE, DATA, OUTPUT, CacheDir, DataDir, Json, OutputDir, SuiteName
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.results.record import RunResult


def score(
    file: Annotated[Path, typer.Argument(help="Scores of the catalogue, or lists of each test user's best items.")],
    suite: SuiteName,
    scenario: ScenarioName,
    name: Annotated[str, typer.Option(help="Name of the row on the leaderboard.")],
    seed: Annotated[int, typer.Option(help="Seed of the row.", min=0)] = 0,
    form: Annotated[
        str | None, typer.Option("--format", help="csv, tsv, parquet, jsonl or trec. Default: by the file's suffix.")
    ] = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option(help="Scores of drawn candidates, as in `sampled-30=FILE` (may be repeated)."),
    ] = None,
    lists: Annotated[bool, typer.Option("--lists/--no-lists", help="Keep each user's top-20 list of items.")] = True,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Score ranked lists or scores that any code made, and put the result on the leaderboard.

    Example: `harness score my-lists.csv --suite cdsr --scenario drama-from-action --name my-model`
    """
    from harness.run.outside import score_file
    from harness.run.progress import make_console

    drawn = {}
    for option in candidates or []:
        of, _, path = option.partition("=")
        if not of or not path or of == "full" or of in drawn:
            raise HarnessError(
                f"--candidates {option!r} names no file.", "Write it as in sampled-30=FILE, each set once."
            )
        drawn[of] = Path(path)
    console = make_console(stderr=True)
    scored = score_file(
        file,
        suite,
        scenario,
        name,
        seed=seed,
        form=form,
        drawn=drawn,
        output_dir=output_dir,
        cache_dir=cache_dir,
        data_dir=data_dir,
        keep_lists=lists,
        console=console,
    )
    outside = scored.result.outside
    assert outside is not None  # noqa: S101 - score_file makes no other result
    if as_json:
        record = outside.model_dump(mode="json")
        files = {"result": str(scored.path), "leaderboard": str(scored.board_path)}
        typer.echo(json.dumps({**files, "metrics": known_metrics(scored.result), "outside": record}, indent=1))
        return
    for line in summary(scored.result):
        typer.echo(line)
    typer.echo(f"Leaderboard: {scored.board_path}")
    typer.echo(f"Result:      {scored.path}")


def known_metrics(result: "RunResult") -> dict[str, dict[str, float | None]]:
    """Metrics over all test users by candidate set; None at cutoffs above the length of the lists."""
    length = result.outside.list_length if result.outside else None
    return {
        name: {
            metric: None if name == "full" and length is not None and int(metric.partition("@")[2]) > length else value
            for metric, value in record.metrics["all"].items()
        }
        for name, record in result.candidates.items()
        if record.metrics is not None
    }


def summary(result: "RunResult") -> list[str]:
    """A result that was scored outside, in words."""
    outside, users = result.outside, result.slices["all"]
    assert outside is not None  # noqa: S101 - the caller's
    lines = [f"{result.method} on {result.scenario.name}, seed {result.seed}, scored outside; {users:,} test users"]
    for name, metrics in known_metrics(result).items():
        figures = [f"{m.upper()} {'–' if v is None else f'{v:.4f}'}" for m, v in metrics.items() if m.endswith("@10")]
        lines.append(f"  {name}: {', '.join(figures)}")
    lines += [f"  {name}: {each.absent}" for name, each in result.candidates.items() if each.absent]
    if outside.list_length is not None:
        lines.append(
            f"  lists: {outside.list_length:,} candidates or more a user; at cutoffs above that the metrics cannot be "
            "computed, and an item that is not listed counts as a miss"
        )
    if outside.missing_users:
        lines.append(f"  missing: {outside.missing_users:,} test users have no row and count as misses")
    if outside.history_items:
        lines.append(f"  history: {outside.history_items:,} rows are of items in the user's history, no candidates")
    if outside.other_users:
        lines.append(f"  others: {outside.other_users:,} users without a test event are left out")
    return lines


class RunFormat(StrEnum):
    """Forms of exported results."""

    trec = "trec"
    every_eval_ever = "every-eval-ever"


def export_run(
    result: Annotated[Path, typer.Argument(help="A result file: leaderboards/results/.../sasrec-seed0.json.")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Where the files go. Default: a folder of the format's name.")
    ] = None,
    form: Annotated[
        RunFormat, typer.Option("--format", help="trec: lists and judgements; every-eval-ever: metrics and conditions.")
    ] = RunFormat.trec,
    organization: Annotated[str, typer.Option(help="Who provides the record, for every-eval-ever.")] = "unknown",
) -> None:
    """Write a result's top-20 lists as a TREC run with judgements, or its metrics as a record of Every Eval Ever.

    ranx, ir-measures and trec_eval read both files of TREC's format. Every Eval Ever is a shared database of results:
    https://evalevalai.com.

    Example: `harness export-run leaderboards/results/cdsr/v2/drama-from-action/sasrec-seed0.json`
    """
    from harness.report.every_eval_ever import write_every_eval_ever
    from harness.results.trec import write_run

    folder = output_dir or Path(form.value)
    if form is RunFormat.trec:
        for path in write_run(result, folder):
            typer.echo(str(path))
    else:
        typer.echo(str(write_every_eval_ever(result, folder, organization, time.time())))
