"""The `harness data` commands: list, fetch, prepare, describe, verify and export data sets."""

import json
import time
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import CACHE, DATA, CacheDir, DataDir, Json, SuiteName, complete_datasets, complete_suites
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.datasets import Dataset
    from harness.protocol.scenario import DomainSpec

app = typer.Typer(
    help="Data sets: list, fetch, prepare, describe, verify, export.", no_args_is_help=True, rich_markup_mode="markdown"
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Names of data sets (see: list).", autocompletion=complete_datasets)
]
DatasetName = Annotated[str, typer.Argument(help="Name of a data set (see: list).", autocompletion=complete_datasets)]
OfSuite = Annotated[
    str | None,
    typer.Option("--suite", help="All domains of a suite, by its name or file.", autocompletion=complete_suites),
]
KCore = Annotated[int, typer.Option(help="Least interactions of every remaining user and item.", min=1)]


class Rule(StrEnum):
    """See `harness.data.ties.TieRule`."""

    hashed = "hashed"
    file = "file"


Ties = Annotated[
    Rule, typer.Option(help="Order of a named data set's events with equal timestamps: hashed, or as in its file.")
]


@app.command("list")
def list_datasets(data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """List all named data sets, and which of them are in the data folder.

    Example: `harness data list --data-dir ~/data`
    """
    from tabulate import tabulate

    from harness.datasets import dataset_names, load_dataset

    datasets = [load_dataset(name) for name in dataset_names()]
    if as_json:
        listed = [
            {
                "name": d.name,
                "title": d.title,
                "here": d.is_in(data_dir),
                "source": d.source.model_dump(mode="json", exclude_none=True),
                "files": [asdict(file) for file in d.files],
                "page": d.page,
                "licence": d.licence,
            }
            for d in datasets
        ]
        typer.echo(json.dumps(listed, indent=1))
        return
    rows = [[d.name, "yes" if d.is_in(data_dir) else _how_to_get(d), d.title] for d in datasets]
    typer.echo(tabulate(rows, ["data set", f"in {data_dir}", "title"]))


@app.command()
def fetch(names: Names = None, suite: OfSuite = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Download data sets from their publishers; check existing files and resume interrupted downloads.

    Example: `harness data fetch movielens-1m-ratings`
    """
    from harness.data.fetch import fetch as download
    from harness.run.progress import make_console, show_progress

    console = make_console(stderr=True)
    fetched = []
    for dataset in _datasets(names, suite):
        if not dataset.files:
            typer.echo(f"{dataset.name}: {_how_to_get(dataset)}; see {dataset.page}", err=as_json)
            continue
        console.print(f"{dataset.name}: {dataset.licence} ({dataset.page})")
        with show_progress(console) as progress:

            def report(what: str, done: int, total: int | None, name: str = dataset.name) -> None:
                progress.step(name, done, total, what)

            for file in download(dataset.files, data_dir / dataset.folder, report):
                fetched.append({"dataset": dataset.name, **asdict(file)})
                state = "exists" if file.already else "fetched"
                trust = ", first use: its hash is recorded and will be checked from now on" if file.first_use else ""
                if not as_json:
                    typer.echo(f"  {file.name}: {state}, {file.size:,} bytes, SHA-256 {file.sha256}{trust}")
    if as_json:
        typer.echo(json.dumps(fetched, indent=1))


@app.command()
def prepare(
    names: Names = None,
    suite: OfSuite = None,
    k_core: KCore = 5,
    ties: Ties = Rule.hashed,
    data_dir: DataDir = DATA,
    cache_dir: CacheDir = CACHE,
    as_json: Json = False,
) -> None:
    """Prepare domains: drop (and report) unusable rows, take the k-core, sort by time, store by fingerprint.

    Example: `harness data prepare amazon2014-beauty --data-dir ~/data`
    """
    from harness.report.ties import tie_table
    from harness.run.progress import make_console, show_progress
    from harness.run.workspace import prepare_domains
    from harness.storage.store import Store

    console = make_console(stderr=True)
    store = Store(cache_dir / "store")
    rows = []
    for spec in _specs(names, suite, k_core, ties):
        started = time.perf_counter()
        with show_progress(console) as progress:
            prepared = prepare_domains([spec], store, data_dir, progress, quiet=True)[spec.name]
        seconds = time.perf_counter() - started
        p = prepared.preparation
        rows.append({"name": spec.name, "seconds": round(seconds, 2), "fresh": prepared.fresh, **p.as_json()})
        if as_json:
            continue
        typer.echo(f"{spec.name}: {p.users:,} users, {p.items:,} items, {p.interactions:,} interactions")
        typer.echo(f"  fingerprint {p.fingerprint}")
        core = f"{p.read:,} interactions read, {spec.k_core}-core in {p.rounds} rounds"
        typer.echo(f"  {core}, {seconds:.1f} s{'' if prepared.fresh else ', prepared before from the same files'}")
        for line in p.lines():
            typer.echo(f"  {line}")
        typer.echo(tie_table({spec.name: p.ties}))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))


@app.command()
def describe(
    names: Names = None,
    suite: OfSuite = None,
    k_core: KCore = 5,
    ties: Ties = Rule.hashed,
    plot: Annotated[Path | None, typer.Option(help="Draw length and popularity into this .png, .svg or .pdf.")] = None,
    data_dir: DataDir = DATA,
    cache_dir: CacheDir = CACHE,
    as_json: Json = False,
) -> None:
    """Print dataset statistics and domain overlap.

    Example: `harness data describe --suite cdsr --plot lengths.png`
    """
    from harness.data.domain_store import load_domain
    from harness.data.statistics import domain_overlaps, domain_statistics
    from harness.report.data import check_plot, description_table, plot_distributions, shared_table
    from harness.report.ties import tie_table, tie_warnings
    from harness.run.progress import make_console, show_progress
    from harness.run.workspace import prepare_domains
    from harness.storage.store import Store

    if plot is not None:
        check_plot(plot)
    specs = _specs(names, suite, k_core, ties)
    console = make_console(stderr=True)
    store = Store(cache_dir / "store")
    with show_progress(console) as progress:
        prepared = prepare_domains(specs, store, data_dir, progress)
    audits = {name: domain.preparation.ties for name, domain in prepared.items()}
    domains = [load_domain(store, domain.preparation.fingerprint, name) for name, domain in prepared.items()]
    statistics = [domain_statistics(domain) for domain in domains]
    overlaps = domain_overlaps(domains, {spec.name: spec.source.users for spec in specs})
    if plot is not None:
        plot_distributions(domains, plot)
    if as_json:
        rows = [asdict(row) | {"ties": asdict(audits[row.name])} for row in statistics]
        typer.echo(json.dumps({"domains": rows, "shared": list(map(asdict, overlaps))}, indent=1))
        return
    typer.echo(description_table(statistics))
    if overlaps:
        typer.echo("\n" + shared_table(overlaps))
    typer.echo("\n" + tie_table(audits))
    for line in tie_warnings(audits):
        typer.echo(line)
    typer.echo("\nText tokens are words and punctuation marks. A dash: the ids of the two domains cannot be compared.")
    if plot is None:
        typer.echo("Add --plot FILE.png to plot the lengths of histories and the popularity of items.")


@app.command()
def verify(
    names: Names = None,
    suite: OfSuite = None,
    k_core: KCore = 5,
    ties: Ties = Rule.hashed,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Check that fetched files are unchanged and that domains have the content pinned in suites.

    Domains are prepared from their files, sampled candidates are drawn, and all of them are hashed. Exits with 1 if a
    hash differs from a pinned one.

    Example: `harness data verify --suite cdsr-amazon --data-dir ~/data`
    """
    import tempfile

    from harness.data.fetch import RECORD
    from harness.data.fetch import verify as verify_files
    from harness.run.progress import make_console, show_progress
    from harness.run.scenario_data import candidate_digests
    from harness.run.workspace import Workspace, prepare_domains
    from harness.storage.store import Store
    from harness.suites import load_suite

    checks: list[dict[str, str]] = []
    for folder in dict.fromkeys(data_dir / d.folder for d in _datasets(names, suite) if d.files):
        if (folder / RECORD).is_file():
            checks += [
                _check(f"file {folder / c.name}", c.state, "its hash when fetched") for c in verify_files(folder)
            ]
    specs = [replace(spec, fingerprint=None) for spec in _specs(names, suite, k_core, ties)]
    console = make_console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        store = Store(Path(scratch))
        with show_progress(console) as progress:
            prepared = prepare_domains(specs, store, data_dir, progress)
        fingerprints = {name: domain.preparation.fingerprint for name, domain in prepared.items()}
        for spec, pinned in zip(specs, _specs(names, suite, k_core, ties), strict=True):
            checks.append(_compare(f"domain {spec.name}", fingerprints[spec.name], _pins(pinned)))
        for scenario in load_suite(suite).scenarios if suite else ():
            digests = candidate_digests(Workspace(load_suite(suite or ""), store, "cpu", fingerprints), scenario)
            pins = dict(scenario.pins)
            checks += [
                _compare(f"{kind} of {scenario.name}", sha256, {"its suite": pins[kind]} if kind in pins else {})
                for kind, sha256 in digests.items()
            ]
    if as_json:
        typer.echo(json.dumps(checks, indent=1))
    else:
        for check in checks:
            sha256 = f" {check['sha256']}" if check["sha256"] else ""
            typer.echo(f"{check['what']}: {check['is']} ({check['by']}){sha256}")
    if any(check["is"] not in ("ok", "not pinned") for check in checks):
        raise typer.Exit(1)


@app.command()
def export(
    suite: SuiteName,
    scenario: Annotated[str, typer.Option(help="Which scenario; `harness ls` lists them.")],
    output_dir: Annotated[Path, typer.Option(help="A new folder.")],
    form: Annotated[str, typer.Option("--format", help="plain (CSV) or recbole (atomic files).")] = "plain",
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
) -> None:
    """Write a scenario's training data, test histories and candidates, without the answers, for other programs.

    Score what they make of it with `harness score`.

    Example: `harness data export --suite cdsr --scenario drama-from-action --output-dir drama`
    """
    from harness.run.export_data import export_data
    from harness.run.progress import make_console, show_progress
    from harness.run.workspace import open_workspace
    from harness.suites import current_suite, pick_scenarios

    loaded = current_suite(suite)
    (chosen,) = pick_scenarios(loaded, [scenario])
    with show_progress(make_console(stderr=True)) as progress:
        workspace = open_workspace(
            loaded, cache_dir=cache_dir, data_dir=data_dir, domains=chosen.domains, progress=progress
        )
    for path in export_data(workspace, chosen, output_dir, form):
        typer.echo(str(path))


@app.command()
def croissant(name: DatasetName, data_dir: DataDir = DATA) -> None:
    """Print Croissant metadata of a named data set: its files, their hashes, its licence and, of tables, the columns.

    `harness data export` writes such metadata beside the files of any scenario.

    Example: `harness data croissant amazon2014-clothing --data-dir data > data/croissant.json`
    """
    from harness.datasets import load_dataset
    from harness.datasets.croissant import dataset_metadata

    typer.echo(json.dumps(dataset_metadata(load_dataset(name), data_dir), indent=1, ensure_ascii=False))


def _check(what: str, state: str, by: str, sha256: str = "") -> dict[str, str]:
    return {"what": what, "is": state, "by": by, "sha256": sha256}


def _compare(what: str, sha256: str, pins: dict[str, str]) -> dict[str, str]:
    """Compare a hash with the pinned ones, by the name of the suite that pins them."""
    if not pins:
        return _check(what, "not pinned", "nothing to compare with", sha256)
    differing = sorted(by for by, pin in pins.items() if pin != sha256)
    if differing:
        return _check(what, "different", f"pinned by {', '.join(differing)}", sha256)
    return _check(what, "ok", f"pinned by {', '.join(sorted(pins))}", sha256)


def _pins(spec: "DomainSpec") -> dict[str, str]:
    """Fingerprints pinned by the domain's own suite and by built-in suites for the same source, core and ties."""
    from harness.suites import load_suite, suite_names, suite_versions

    pins = {"its suite": spec.fingerprint} if spec.fingerprint else {}
    unpinned = replace(spec, fingerprint=None).definition
    for name in suite_names():
        for version in suite_versions(name):
            suite = load_suite(f"{name}/v{version}")
            for other in suite.domains:
                if other.fingerprint and replace(other, fingerprint=None).definition == unpinned:
                    pins[suite.id] = other.fingerprint
    return pins


def _specs(names: list[str] | None, suite: str | None, k_core: int, ties: Rule) -> "list[DomainSpec]":
    from harness.data.ties import TieOrder
    from harness.protocol.scenario import DomainSpec
    from harness.suites import load_suite

    _check_selection(names, suite)
    if suite:
        return list(load_suite(suite).domains)
    order = TieOrder(ties.value)
    return [DomainSpec(d.name, d.source, k_core, None, ties=order) for d in _datasets(names, None)]


def _datasets(names: list[str] | None, suite: str | None) -> "list[Dataset]":
    from harness.datasets import load_dataset

    _check_selection(names, suite)
    return [load_dataset(name) for name in names] if names else _datasets_of(suite)


def _datasets_of(suite: str | None) -> "list[Dataset]":
    """The named data sets among a suite's domains."""
    from harness.datasets import dataset_names, load_dataset
    from harness.suites import load_suite

    sources = [spec.source for spec in load_suite(suite).domains] if suite else []
    return [d for d in map(load_dataset, dataset_names()) if d.source in sources]


def _check_selection(names: list[str] | None, suite: str | None) -> None:
    if bool(names) == bool(suite):
        raise HarnessError(
            "Name either data sets or a suite.", "Pass names (see: harness data list), or --suite; not both."
        )


def _how_to_get(dataset: "Dataset") -> str:
    return "fetch" if dataset.files else "by hand"
