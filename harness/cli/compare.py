"""Commands that compare two methods, and explain one result."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    CACHE,
    DATA,
    OUTPUT,
    CacheDir,
    DataDir,
    Json,
    OutputDir,
    Scenarios,
    complete_methods,
    complete_suites,
)

if TYPE_CHECKING:
    from harness.report.examples import Texts
    from harness.report.pair import PairComparison

_SIDE = "a method of the suite, one training of it as in weaverec@0, or the path of a result file."


def compare(
    a: Annotated[str, typer.Argument(help=f"The first: {_SIDE}", autocompletion=complete_methods)],
    b: Annotated[str, typer.Argument(help="The second, likewise.", autocompletion=complete_methods)],
    suite: Annotated[
        str | None,
        typer.Option(
            help="Name of a suite (its newest version with results), name/v1, or path of its .yaml file.",
            autocompletion=complete_suites,
        ),
    ] = None,
    scenario: Scenarios = None,
    candidates: Annotated[str, typer.Option(help="Candidate set of the main table.")] = "full",
    metric: Annotated[str, typer.Option(help="Metric of ranks, with its cutoff.")] = "ndcg@10",
    examples: Annotated[
        int, typer.Option(help="Show this many users whom each side wins by most, and the hardest.", min=0)
    ] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw the differences into this .svg, .png or .pdf.")] = None,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Compare two methods user by user, from their results, without training anything.

    Prints the difference with its interval and p-value by scenario, slice and candidate set, and the shares of users
    won and lost.

    Examples:

    - `harness compare sasrec weaverec --suite cdsr`

    - `harness compare sasrec weaverec --suite cdsr --scenario drama-from-action --examples 3` shows single users

    - `harness compare weaverec@0 weaverec@1 --suite cdsr/v1 --plot seeds.svg` compares two trainings
    """
    from harness.report.data import check_plot
    from harness.report.examples import choose_users, make_examples
    from harness.report.examples_text import example_json, examples_text
    from harness.report.pair import compare_pair
    from harness.report.pair_text import pair_json, pair_text, plot_pair
    from harness.report.sides import find_sides

    if plot is not None:
        check_plot(plot)
    pair = compare_pair(find_sides(a, b, output_dir / "results", suite, scenario or ()), candidates, metric)
    if plot is not None:
        plot_pair(pair, plot)
    chosen = choose_users(pair, examples)
    texts, missing = _texts(pair, {user.scenario for user in chosen}, suite, cache_dir, data_dir)
    shown, more_missing = make_examples(pair, chosen, texts)
    missing += more_missing
    if as_json:
        content = {**pair_json(pair), "examples": list(map(example_json, shown)), "missing": missing}
        typer.echo(json.dumps(content, indent=1))
        return
    typer.echo(pair_text(pair))
    if examples:
        typer.echo("\n" + examples_text(pair, shown, missing))
    if plot is not None:
        typer.echo(f"\nPlot: {plot}")


def _texts(
    pair: "PairComparison", scenarios: set[str], suite: str | None, cache_dir: Path, data_dir: Path
) -> "tuple[dict[str, Texts], list[str]]":
    """Titles and histories by scenario, and a line for each reason why some are missing."""
    from harness.errors import HarnessError
    from harness.run.progress import make_console, show_progress
    from harness.run.user_texts import user_texts

    texts: dict[str, Texts] = {}
    missing: dict[str, None] = {}
    with show_progress(make_console(stderr=True)) as progress:
        for name in sorted(scenarios):
            result = pair.sides.a.entries[name].results[0]
            try:
                texts[name] = user_texts(result, suite, cache_dir=cache_dir, data_dir=data_dir, progress=progress)
            except HarnessError as error:
                missing[f"No titles and histories: {error}"] = None
    return texts, list(missing)


def show(
    result: Annotated[Path, typer.Argument(help="The .json file of a result.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the file's fields as they are.")] = False,
) -> None:
    """Explain one result file in words: what was run, what came out, how it was trained, and what to be careful about.

    Example: `harness show leaderboards/results/cdsr/v2/drama-from-action/weaverec-seed0.json`
    """
    from harness.report.show import explain, read_shown

    shown = read_shown(result)
    typer.echo(json.dumps(shown.fields, indent=1, ensure_ascii=False) if as_json else explain(shown))
