"""`harness reproduce`: make the run of a result again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import DATA, DataDir, Jobs, Json, complete_suites
from harness.errors import HarnessError, one_line

if TYPE_CHECKING:
    from harness.results.reproduction import Reproduction


def reproduce(
    result: Annotated[Path, typer.Argument(help="A result file: leaderboards/results/.../sasrec-seed0.json.")],
    suite: Annotated[
        str | None,
        typer.Option(help="File of its suite, if it is none of the harness's.", autocompletion=complete_suites),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="File of its method, as in ./my_method.py:Markov, if it is not installed.")
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Take trained artefacts from this cache. Default: train all again.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto. Default: the result's.")] = None,
    jobs: Jobs = None,
    tolerance: Annotated[
        float, typer.Option(help="Largest difference of metrics over all test users that is a match.", min=0)
    ] = 0.001,
    record: Annotated[
        bool, typer.Option("--record", help="Write what matched into `reproduced/` beside the folder of results.")
    ] = False,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Run a result again from what its file says, and print what matched and what differs.

    Exits with 1 if a metric differs by more than the tolerance. Nothing in the output folder or the cache changes but
    by --record and by trainings that the cache lacks.

    Example: `harness reproduce leaderboards/results/cdsr/v2/drama-from-action/popularity-seed0.json`
    """
    from harness.results.files import read_record
    from harness.results.reproduction import write_reproduction
    from harness.results.submission import output_dir_of
    from harness.run.progress import make_console
    from harness.run.reproduce import reproduce as run_again

    output_dir = output_dir_of(result, read_record(result)) if record else None
    if record and output_dir is None:
        raise HarnessError(
            f"{result} is not where results/ or submissions/ of an output folder hold it: there is no place for a "
            "record.",
            "Leave out --record, or name the file there.",
        )
    console = make_console(stderr=True)
    reproduced = run_again(
        result,
        suite=suite,
        method=method,
        cache_dir=cache_dir,
        device=device,
        jobs=jobs,
        tolerance=tolerance,
        data_dir=data_dir,
        console=console,
    )
    match = reproduced.record
    if "code" in match.differences:
        console.print(one_line(f"Warning: other code than the result's: {match.differences['code']}."))
    if output_dir is not None:
        console.print(f"Record: {write_reproduction(match, output_dir)}")
    if as_json:
        typer.echo(match.model_dump_json(indent=1))
    else:
        for line in explain(match):
            typer.echo(line)
    if match.verdict == "different":
        raise typer.Exit(1)


def explain(match: "Reproduction") -> list[str]:
    """What matched and what differs, in words."""
    words = {"equal": "equal", "within tolerance": "equal within the tolerance", "different": "different"}
    lines = [
        f"{match.method} on {match.scenario}, seed {match.seed}, of {match.suite}/v{match.suite_version}: "
        f"{words[match.verdict]} (tolerance {match.tolerance:g} of metrics over all test users)"
    ]
    for name, ranks in match.ranks.items():
        rank = "–" if ranks.largest_rank_difference is None else f"{ranks.largest_rank_difference:g}"
        lines.append(
            f"  {name}: {ranks.equal_users:.1%} of ranks equal, largest difference {rank}; metrics: largest difference "
            f"{ranks.largest_metric_difference:.2g}, over slices {ranks.largest_slice_difference:.2g}"
        )
    if match.lists:
        lines.append(
            f"  lists: {match.lists.equal_users:.1%} equal, {match.lists.common_items:.1%} of their items in both"
        )
    for artefact in match.artefacts:
        gap = artefact.largest_validation_difference
        lines.append(
            f"  {artefact.label}: {'trained again' if artefact.trained else 'from the cache'}; "
            f"{'same key' if artefact.same_key else 'another key'}, "
            f"{'same steps' if artefact.same_steps else 'other steps'}, validation: "
            + ("other length" if gap is None else f"largest difference {gap:.2g}")
        )
    lines.append(f"  data: {'equal fingerprints, users and test items' if match.same_data else 'other data'}")
    lines += [f"  differs: {name}: {text}" for name, text in match.differences.items()]
    return [one_line(line) if not line.startswith("  ") else f"  {one_line(line[2:])}" for line in lines]
