"""One result file in words."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.data.times import as_day
from harness.errors import HarnessError
from harness.protocol.metrics import ndcg
from harness.protocol.significance import mean_interval
from harness.report.cautions import cautions
from harness.report.markdown import escaped, table
from harness.report.time_guard import time_guard
from harness.results.failure import FailureRecord, is_failure, read_failure
from harness.results.files import ranks_path, read_record, read_result, result_path_of, users_path
from harness.results.ranks_table import RankTable
from harness.results.record import ArtefactRecord, RunResult

#: Metrics of the table of candidate sets.
_METRICS = ("hr@10", "ndcg@10", "mrr@10")


@dataclass(frozen=True)
class Shown:
    """A result file that was read.

    Attributes:
        fields: its content as it is.
        record: the result, or the record of a failed run.
        ranks: of the result, checked against it; None if their files are not there.
    """

    fields: dict[str, Any]
    record: RunResult | FailureRecord
    ranks: RankTable | None = None


def read_shown(path: Path) -> Shown:
    """Read a result file and, if they are there, its ranks.

    Raises:
        HarnessError: there is no such file, or it is not a result, or its ranks are not those of the result.
    """
    if not path.is_file():
        near = get_close_matches(path.name, [each.name for each in path.parent.glob("*.json")], n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(str(path.with_name(name)) for name in near)}?" if near else "Check the path."
        raise HarnessError(f"No result file {path}.", hint)
    if path.suffix == ".parquet":
        home = result_path_of(path)
        raise HarnessError(f"{path} is a table of a result.", f"Name {home or 'the .json file of a result beside it'}.")
    record = read_failure(path) if is_failure(path) else read_record(path)
    has_ranks = not is_failure(path) and ranks_path(path).is_file() and users_path(path).is_file()
    return Shown(json.loads(path.read_bytes()), record, read_result(path)[1] if has_ranks else None)


def explain(shown: Shown) -> str:
    """Markdown: what was run, what came out, how it was trained, its cost, where it comes from, and what to mind."""
    record = shown.record
    if isinstance(record, FailureRecord):
        return _failure(record)
    sections = {
        "What was run": _run(record),
        "Data": _data(record),
        "What came out": _outcome(record, shown.ranks),
        "How it was trained": _training(record),
        "Cost": _cost(record),
        "Where it comes from": _provenance(record),
        "Be careful": [f"- {line}" for line in cautions(record, shown.ranks)],
    }
    title = f"# {escaped(record.method)} on {escaped(record.scenario.name)} of {record.suite}/v{record.suite_version}"
    lines = [f"{title}, seed {record.seed}"]
    for heading, body in sections.items():
        lines += ["", f"## {heading}", "", *body]
    return "\n".join(lines)


def _failure(record: FailureRecord) -> str:
    done = "could not be tried" if record.status == "skipped" else "failed"
    return (
        f"# {escaped(record.method)} on {escaped(record.scenario)} of {record.suite}/v{record.suite_version}, seed "
        f"{record.seed}\n\nThis run {done} ({record.created}), so there is no result: {escaped(record.cause)}\n\n"
        f"The next `harness run` tries it again."
    )


def _run(record: RunResult) -> list[str]:
    target, sources = record.scenario.target, record.scenario.sources
    learns = [name for name in record.learns_from if name != target]
    from_sources = f"source{'s' * (len(learns) > 1)} {', '.join(learns)}"
    reads = f"the target and the {from_sources}" if learns else "the target alone"
    if target not in record.learns_from:
        reads = f"the {from_sources} alone" if learns else "no domain"
    lines = [
        f"- The method {escaped(record.method)} recommends items of the target {target}, with "
        f"{', '.join(sources)} as sources. It learns from {reads}.",
        f"- Settings: {_settings(record.settings) or 'it has none'}.",
        f"- {_choice(record)}",
        f"- Budget: {', '.join(f'{name} {value}' for name, value in record.budget.items())}.",
    ]
    if record.reference:
        lines.append(f"- To be compared with {escaped(record.reference)}, the same without sources.")
    if record.content:
        files = ", ".join(f"{name} {sha256[:12]}" for name, sha256 in record.content.items())
        lines.append(f"- Other files that decide the scores, by digest: {escaped(files)}.")
    return lines


def _settings(settings: dict[str, Any], prefix: str = "") -> str:
    parts = []
    for name, value in settings.items():
        if isinstance(value, dict):
            parts.append(_settings(value, f"{prefix}{name}."))
        else:
            parts.append(f"{prefix}{name} {value}")
    return escaped(", ".join(part for part in parts if part)) if not prefix else ", ".join(parts)


def _choice(record: RunResult) -> str:
    if record.tuning is not None:
        trials, command = len(record.tuning.trials), record.tuning.command
        return f"Settings chosen by validation NDCG@10 among {trials} trials: `{command}`."
    return "Not tuned: these are the defaults of the method and the suite."


def _data(record: RunResult) -> list[str]:
    lines = []
    for name in (record.scenario.target, *record.scenario.sources):
        domain = record.data[name]
        role = "Target" if name == record.scenario.target else "Source"
        order = f"; ties {domain.ties.order}" if domain.ties and domain.ties.order else ""
        lines.append(
            f"- {role} {name}: {domain.users:,} users, {domain.items:,} items, {domain.training_interactions:,} "
            f"training interactions, {record.scenario.k_core[name]}-core{order}; fingerprint "
            f"`{domain.fingerprint[:12]}`."
        )
    name, *instants = record.scenario.split.split("/")
    days = [as_day(instant) for instant in instants]
    split = f"{name}, validation from {days[0]}, test from {days[1]}" if days else name
    shared = "; shared users are left in one domain only" if record.scenario.overlap == "none" else ""
    sizes = ", ".join(f"{name} {size:,}" for name, size in record.slices.items() if name != "all")
    return [
        *lines,
        f"- Split: {split}{shared}. {record.slices['all']:,} test users ({sizes}); {record.left_out:,} users of the "
        "target take no part.",
        f"- {time_guard(record)}",
    ]


def _outcome(record: RunResult, ranks: RankTable | None) -> list[str]:
    rows = []
    for name, found in record.candidates.items():
        if found.metrics is None:
            continue
        interval = ""
        if ranks is not None:
            interval = f" ± {mean_interval(ndcg(ranks.ranks[name], 10)[None]).half_width:.4f}"
        cells = {metric: _cell(found.metrics["all"].get(metric)) for metric in _METRICS}
        cells["ndcg@10"] += interval
        slices = [_cell(found.metrics[each].get("ndcg@10")) for each in record.slices if each != "all"]
        rows.append([name, *cells.values(), *slices])
    headings = [
        "candidates",
        *(metric.upper() for metric in _METRICS),
        *(f"NDCG@10, {name}" for name in record.slices if name != "all"),
    ]
    note = "± is the half-width of a 95 % interval over users only, for this one training."
    absent = [
        f"- Not ranked among {name}: {escaped(found.absent)}"
        for name, found in record.candidates.items()
        if found.absent
    ]
    return [table(headings, rows), *([""] * bool(absent)), *absent, *(["", note] if ranks is not None else [])]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _training(record: RunResult) -> list[str]:
    if not record.training:
        return ["Nothing was trained by gradient steps."]
    rows = [
        [
            escaped(artefact.label),
            f"{artefact.steps:,}",
            f"{artefact.best_step:,}",
            f"{max(artefact.validation):.4f}" if artefact.validation else "–",
            f"{artefact.trainable_parameters:,}",
            escaped(str(artefact.notes.get("stopped_by", "–"))),
        ]
        for artefact in record.training
    ]
    headings = ["trained", "steps", "kept after", "best validation NDCG@10", "weights", "stopped by"]
    notes = [f"- {escaped(each.label)}: {escaped(text)}." for each in record.training if (text := _notes(each))]
    return [table(headings, rows), *([""] * bool(notes)), *notes]


def _notes(artefact: ArtefactRecord) -> str:
    """Plain notes of a training, such as what its data were."""
    plain = {name: value for name, value in artefact.notes.items() if isinstance(value, str | int | float | list)}
    return ", ".join(f"{name} {_short(value)}" for name, value in plain.items() if name != "stopped_by")


def _short(value: object) -> str:
    if isinstance(value, list):
        return " / ".join(map(_short, value[:6])) + (" / …" if len(value) > 6 else "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cost(record: RunResult) -> list[str]:
    cost = record.cost
    gpu = f", on the GPU {cost.peak_gpu_memory_mb:,.0f} MB" if cost.peak_gpu_memory_mb else ""
    lines = [
        f"- Fit {cost.fit_s:,.1f} s, without what was in the store already; ranking {cost.score_s:,.1f} s; peak memory "
        f"{cost.peak_memory_mb:,.0f} MB{gpu}."
    ]
    if cost.artefacts:
        wall = sum(artefact.wall_s for artefact in cost.artefacts)
        measured = [artefact.cpu_s for artefact in cost.artefacts if artefact.cpu_s is not None]
        whole = len(measured) == len(cost.artefacts)
        cpu = f"{sum(measured):,.0f} CPU-seconds" if whole else "CPU-seconds were not measured"
        lines.append(f"- Training of all that it is made of: {wall:,.0f} s, {cpu}.")
    energies = [*(artefact.energy for artefact in cost.artefacts), cost.energy]
    tracked = [energy for energy in energies if energy is not None]
    if len(tracked) == len(energies):
        co2 = [energy.co2_kg for energy in tracked if energy.co2_kg is not None]
        grams = f", {1000 * sum(co2):,.2f} g CO2" if len(co2) == len(tracked) else ""
        parts = sorted({part for energy in tracked for part in energy.estimated})
        how = f"; estimated by a model: {', '.join(parts)}" if parts else ""
        lines.append(f"- Energy of all of it: {1000 * sum(energy.kwh for energy in tracked):,.2f} Wh{grams}{how}.")
    return lines


def _provenance(record: RunResult) -> list[str]:
    made = record.provenance
    checkout = "outside a checkout"
    if made.commit:
        checkout = f"commit `{made.commit[:12]}`" + ("" if made.clean else " with changes to it")
    machine = ", ".join(f"{name} {value}" for name, value in made.hardware.items())
    packages = ", ".join(f"{name} {version}" for name, version in record.packages.items())
    return [
        f"- Made {made.created} on {made.device} ({escaped(machine)}).",
        f"- Harness {record.code.version}, {checkout}; code `{record.code.source[:12]}`.",
        f"- Packages: {escaped(packages)}.",
        f"- Ranks `{record.ranks_sha256[:12]}`, users `{record.users_sha256[:12]}`"
        + (f", lists `{record.lists_sha256[:12]}`." if record.lists_sha256 else "; no recommendation lists were kept."),
    ]
