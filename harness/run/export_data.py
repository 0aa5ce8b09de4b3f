"""Writes a scenario's data without the answers, for code outside the harness: as CSV, or as RecBole's atomic files."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import __version__
from harness.data.domain import Ints, Sequences
from harness.data.times import as_seconds
from harness.datasets import dataset_names, load_dataset
from harness.datasets.croissant import file_object, metadata, record_set
from harness.errors import HarnessError
from harness.protocol.negatives import candidates_digest
from harness.protocol.overlap import user_ids_in_files
from harness.protocol.scenario import Scenario
from harness.protocol.split import DomainTraining, HeldOut, TrainingData
from harness.run.outside import drawn_tables
from harness.run.scenario_data import open_test, open_training
from harness.run.workspace import Workspace
from harness.storage.files import canonical_json, file_digest, temporary_folder

FORMATS = ("plain", "recbole")
MANIFEST, CROISSANT = "manifest.json", "croissant.json"

#: RecBole's type of each column; see https://recbole.io/docs/user_guide/data/atomic_files.html.
_TYPES = {
    "user_id": "token",
    "item_id": "token",
    "position": "float",
    "timestamp": "float",
    "text": "token_seq",
}


def export_data(workspace: Workspace, scenario: Scenario, folder: Path, form: str = "plain") -> list[Path]:
    """Write what a method may see of a scenario, and what it has to score, into a new folder.

    Training and validation events and item texts of every domain; the histories of the target's test users, and the
    candidates that the suite draws for them; a manifest with the SHA-256 of each file, and Croissant metadata. No test
    event is written: a drawn candidate set holds each user's test item among others, in the order of item ids.

    Args:
        workspace: the suite and its data.
        scenario: one of the suite's.
        folder: a new or empty folder; it appears when it is complete.
        form: one of `FORMATS`.

    Returns:
        The files, the manifest last.

    Raises:
        HarnessError: the folder is not empty, or cannot be written to; or the split leaves nothing to train or test on.
    """
    if form not in FORMATS:
        raise HarnessError.unknown("format", form, FORMATS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HarnessError(f"{folder} is there and not empty.", "Choose another --output-dir.")
    training, test = open_training(workspace, scenario), open_test(workspace, scenario)
    if training.target_domain.selected_on_test:
        raise HarnessError(
            f"{scenario.name} selects on test: its validation events are its test events.", "Choose another scenario."
        )
    drawn = drawn_tables(workspace, scenario, test, training.target_domain)
    files = _tables(workspace, training, test, drawn, _NAMES[form])
    manifest = _manifest(workspace, scenario, training.domains, drawn)
    with temporary_folder(folder) as temporary:
        for path, columns in files.items():
            (temporary / path).parent.mkdir(exist_ok=True)
            text = _csv(columns) if path.endswith(".csv") else _atomic(columns)
            (temporary / path).write_text(text, encoding="utf-8", newline="")
        manifest |= {"format": form, "files": {path: file_digest(temporary / path) for path in files}}
        (temporary / MANIFEST).write_text(canonical_json(manifest) + "\n", encoding="utf-8")
        described = json.dumps(_croissant(workspace, scenario, manifest["files"], files), indent=1, ensure_ascii=False)
        (temporary / CROISSANT).write_text(described + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError as error:
            raise HarnessError(f"{folder} is there and not empty.", "Choose another --output-dir.") from error
    return [folder / path for path in (*files, CROISSANT, MANIFEST)]


#: Columns of one length, by name.
_Table = Mapping[str, Sequence[Any]]


def _tables(
    workspace: Workspace,
    training: TrainingData,
    test: HeldOut,
    drawn: Mapping[str, Ints],
    names: Mapping[str, str],
) -> dict[str, _Table]:
    """The content of each file by its path, relative to the folder."""
    files: dict[str, _Table] = {}
    target = training.target_domain
    for name, domain in training.domains.items():
        users = _user_ids(workspace, domain, target)
        files[names["train"].format(name)] = _events(domain.train, users, domain)
        files[names["validation"].format(name)] = _held_out(domain.validation, users, domain)
        files[names["items"].format(name)] = {"item_id": domain.catalogue.item_ids, "text": domain.catalogue.texts}
    users = _user_ids(workspace, target, target)
    tested = [users[user] for user in test.histories.users]
    files[names["histories"].format(target.name)] = _events(test.histories.sequences, tested, target)
    files["test_users.csv"] = {"user_id": tested}
    for name, table in drawn.items():
        files[f"candidates.{name}.csv"] = {
            "user_id": [user for user in tested for _ in range(table.shape[1])],
            "item_id": [target.catalogue.item_ids[item] for item in table.ravel()],
        }
    return files


def _user_ids(workspace: Workspace, domain: DomainTraining, target: DomainTraining) -> list[str]:
    """Ids of a domain's users as in its files, if they are of the target's id space; else with a prefix.

    Equal ids in two files then mean one person.
    """
    users, of_target = (workspace.suite.spec(each.name).source.users for each in (domain, target))
    is_shared = domain.name == target.name or (users is not None and users == of_target)
    return user_ids_in_files(domain, users) if is_shared else list(domain.user_ids)


def _events(sequences: Sequences, users: Sequence[str], domain: DomainTraining) -> _Table:
    """A row for each event, in the protocol's order within each user."""
    position = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    names = [users[user] for user in sequences.users]
    return _columns(names, sequences.items, position, sequences.timestamps, domain)


def _held_out(events: HeldOut, users: Sequence[str], domain: DomainTraining) -> _Table:
    """A row for each held-out event."""
    names = [users[user] for user in events.histories.users]
    return _columns(names, events.targets, events.histories.sequences.lengths, events.times, domain)


def _columns(users: list[str], items: Ints, position: Ints, times: Ints, domain: DomainTraining) -> _Table:
    columns: dict[str, Sequence[Any]] = {
        "user_id": users,
        "item_id": [domain.catalogue.item_ids[item] for item in items],
        "position": position.tolist(),
    }
    return columns | {"timestamp": [as_seconds(time) for time in times.tolist()]} if domain.timed else columns


#: Names of files by their kind; RecBole finds the parts of a data set by such names.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "plain": {kind: "{0}." + kind + ".csv" for kind in ("train", "validation", "histories", "items")},
    "recbole": {
        "train": "{0}/{0}.train.inter",
        "validation": "{0}/{0}.valid.inter",
        "histories": "{0}/{0}.histories.inter",
        "items": "{0}/{0}.item",
    },
}


def _csv(columns: _Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def _atomic(columns: _Table) -> str:
    """Columns separated by tabs; white space within a cell becomes one space, as the format has no quotes."""
    header = "\t".join(map(_atomic_name, columns))
    return "\n".join([header, *("\t".join(map(_cell, row)) for row in zip(*columns.values(), strict=True)), ""])


def _atomic_name(column: str) -> str:
    return f"{column}:{_TYPES[column]}"


def _cell(value: object) -> str:
    return " ".join(str(value).split())


def _manifest(
    workspace: Workspace, scenario: Scenario, domains: Mapping[str, DomainTraining], tables: Mapping[str, Ints]
) -> dict[str, Any]:
    suite = workspace.suite
    return {
        "harness": __version__,
        "suite": suite.id,
        "scenario": scenario.name,
        "target": scenario.target,
        "sources": list(scenario.sources),
        "split": domains[scenario.target].split,
        "fingerprints": {name: workspace.fingerprints[name] for name in domains},
        "candidates": list(suite.candidates),
        "candidate_seed": suite.candidate_seed,
        "candidates_sha256": {name: candidates_digest(table) for name, table in tables.items()},
    }


def _croissant(
    workspace: Workspace, scenario: Scenario, digests: Mapping[str, str], files: Mapping[str, _Table]
) -> dict[str, Any]:
    """Croissant metadata of the files, with the pages and licences of the named data sets they were made from."""
    suite = workspace.suite
    sources = [suite.spec(name).source for name in scenario.domains]
    named = [dataset for dataset in map(load_dataset, dataset_names()) if dataset.source in sources]
    return metadata(
        f"{suite.name}-v{suite.version}-{scenario.name}",
        f"{suite.title}: what may be seen of the scenario {scenario.name} of {suite.id}, without the test events.",
        [file_object(path, digest) for path, digest in digests.items()],
        [
            record_set(
                path.rpartition("/")[2].removesuffix(".csv"),
                path,
                {name: name if path.endswith(".csv") else _atomic_name(name) for name in columns},
            )
            for path, columns in files.items()
        ],
        list(dict.fromkeys(dataset.licence for dataset in named)),
        list(dict.fromkeys(dataset.page for dataset in named)),
        list(dict.fromkeys(dataset.citation for dataset in named if dataset.citation)),
        f"{suite.version}.0.0",
    )
