"""Trains on generated instances of `cdsr-planted` and counts how often help and harm are found, and nothing by mistake.

    python -m scripts.planted_instances --instances 20

Writes leaderboards/planted-instances.json, and leaderboards/planted-instances.md from it; a test compares the two.
Instances differ in words, items, users and events. One that the file has is not trained again, so the command can be
interrupted. An instance takes about two minutes on one core.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

import harness
from harness.data.synthetic import PARTS, ceiling, planted_tables
from harness.protocol.significance import LEVEL, mean_interval, simultaneous_p_values
from harness.report.collect import Entry
from harness.report.comparison import compare
from harness.report.markdown import table
from harness.storage.files import write_atomically

SUITE = Path(harness.__file__).parent / "suites" / "cdsr-planted" / "v3.yaml"
PAGE = Path(__file__).parents[1] / "leaderboards" / "planted-instances.md"

#: What the source does.
LAWS = ("helpful", "harmful", "neutral")

#: Each row and its controls: a gain counts if it is found over all of them. `target-half` is naive merging with nothing
#: in the source's place; `target-soup` is WeaveRec with the target alone in its hybrid's place.
CONTROLS = {
    "naive-merge": ("target-only", "target-half"),
    "weaverec": ("target-only", "target-soup"),
    "joint": ("target-only",),
}

PAGE_TEXT = """# Planted instances

Written by `scripts/planted_instances.py` from [planted-instances.json](planted-instances.json); do not edit.

{n} instances of the single-source scenarios of `cdsr-planted/v3`, with other words, items, users and events, one
training seed each. Mean NDCG@10 over the full catalogue: zero-shot {zero:.3f}, `target-only` {target:.3f}, the highest
that can be expected {ceiling:.3f}.

*Over target-only* and *over control*: mean gain and its 95 % interval over instances, which differ in everything that
is random. The control of `naive-merge` is half of the target's task vector; that of `weaverec` is the mean of two
components of the target. *Found*: instances in which the row is above (or below) both, each by a test over the users of
that instance, with the error controlled over all rows and controls of a scenario. Such a test takes the one training
of each component as given.

{table}
"""

Instance = dict[str, Any]


def write_suite(
    path: Path, seed: int, laws: Sequence[str] = LAWS, settings: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Write a suite file of one instance: single-source scenarios of `cdsr-planted`, with other domains.

    Args:
        path: of the file.
        seed: of the domains.
        laws: sources, one a scenario.
        settings: of the trainings, where they differ from the suite's.
    """
    suite = yaml.safe_load(SUITE.read_text(encoding="utf-8"))
    training = suite["settings"]["target-only"] | settings
    half = {"name": "target-half", "method": "merge.weights", "settings": {"rule.weights": [0.5, 0.0], **training}}
    methods = ["target-only", "target-soup", *CONTROLS]
    changes = {
        "suite": "planted-instance",
        "domains": [
            {key: value for key, value in domain.items() if key != "fingerprint"} | {"seed": seed}
            for domain in suite["domains"]
        ],
        "scenarios": [{"target": "target", "sources": [law]} for law in laws],
        "methods": ["zero-shot", *methods, half],
        "more_methods": [],
        "settings": dict.fromkeys(methods, training),
        "seeds": [0],
        "candidates": ["full"],
    }
    path.write_text(yaml.safe_dump(suite | changes, sort_keys=False), encoding="utf-8")


def run_instance(
    seed: int, folder: Path, laws: Sequence[str] = LAWS, settings: Mapping[str, Any] = MappingProxyType({})
) -> Instance:
    """Train and score one instance.

    Args:
        seed: of its domains.
        folder: an empty folder.
        laws, settings: see `write_suite`.

    Returns:
        `ndcg@10` of the target's rows, and by law and row: its `ndcg@10`, and the `gain` over each control with its
        p-value, adjusted over all rows and controls of the scenario.
    """
    path = folder / "instance.yaml"
    write_suite(path, seed, laws, settings)
    done = harness.run_suite(
        str(path), output_dir=folder, cache_dir=folder / "cache", device="cpu", jobs=0, stop_on_error=True
    )
    assert done.board is not None  # noqa: S101 - a run that stops on errors has results
    scenarios = [done.board.scenarios[f"target-from-{law}"] for law in laws]
    means = {entry.method: entry.mean("full", "ndcg@10") for entry in scenarios[0]}
    references = ("zero-shot", "target-only", "target-half", "target-soup")
    return {
        "seed": seed,
        "ndcg@10": {name: means[name] for name in references} | {"ceiling": _ceiling(seed)},
        "laws": {law: _tested(entries) for law, entries in zip(laws, scenarios, strict=True)},
    }


def _ceiling(seed: int) -> float:
    """Highest expected NDCG@10 of the target's test events."""
    interactions, _ = planted_tables("target", seed)
    numbers = interactions["item_id"].str.rpartition("-")[2].astype(int)
    sequences = [items.to_numpy() for _, items in numbers.groupby(interactions["user_id"])]
    return float(ceiling([items[:-1] for items in sequences if len(items) > 2], PARTS["target"].strength)[0].mean())


def _tested(entries: Iterable[Entry]) -> dict[str, Any]:
    """Rows of one scenario against their controls."""
    rows = compare(entries)
    unit = dict(zip(rows.methods, np.eye(len(rows.methods)), strict=True))
    means = dict(zip(rows.methods, rows.values.mean(axis=(1, 2)), strict=True))
    pairs = [(row, control) for row, controls in CONTROLS.items() for control in controls]
    contrasts = np.array([unit[row] - unit[control] for row, control in pairs])
    p_values = dict(zip(pairs, simultaneous_p_values(rows.values, contrasts), strict=True))
    return {
        row: {
            "ndcg@10": float(means[row]),
            "gains": {
                control: {"gain": float(means[row] - means[control]), "p": float(p_values[row, control])}
                for control in controls
            },
        }
        for row, controls in CONTROLS.items()
    }


def found(row: Mapping[str, Any]) -> int:
    """1 if a row of an instance gains over all its controls, -1 if it loses against all, 0 if neither is found."""
    signs = {int(np.sign(gain["gain"])) if gain["p"] < LEVEL else 0 for gain in row["gains"].values()}
    return signs.pop() if len(signs) == 1 else 0


def page(instances: Sequence[Instance]) -> str:
    """How often each row finds something, as markdown."""
    lines = []
    for law in LAWS:
        for row, controls in CONTROLS.items():
            results = [instance["laws"][law][row] for instance in instances]
            gains = np.array([[result["gains"][control]["gain"] for control in controls] for result in results])
            figures = [mean_interval(gains[None, :, column]) for column in range(len(controls))]
            cells = [f"{figure.mean:+.3f} ± {figure.half_width:.3f}" for figure in figures]
            signs = [found(result) for result in results]
            lines.append(
                [
                    law,
                    row,
                    *(cells if len(cells) == 2 else [*cells, ""]),
                    f"{(gains[:, 0] > 0).sum()} of {len(gains)}",
                    str(signs.count(1)),
                    str(signs.count(-1)),
                ]
            )
    headings = ["source", "row", "over target-only", "over control", "above target-only", "help found", "harm found"]
    means = {name: np.mean([each["ndcg@10"][name] for each in instances]) for name in instances[0]["ndcg@10"]}
    return PAGE_TEXT.format(
        n=len(instances),
        zero=means["zero-shot"],
        target=means["target-only"],
        ceiling=means["ceiling"],
        table=table(headings, lines, ["left", "left", *["right"] * 5]),
    )


def main() -> None:
    """Run the instances that are missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=20, help="number of instances")
    parser.add_argument("--output", type=Path, default=PAGE.with_suffix(".json"), help="JSON file of the instances")
    arguments = parser.parse_args()
    output: Path = arguments.output
    instances = json.loads(output.read_text(encoding="utf-8")) if output.exists() else []
    for seed in range(1, arguments.instances + 1):
        if seed not in {each["seed"] for each in instances}:
            with TemporaryDirectory() as folder:
                instances.append(run_instance(seed, Path(folder)))
            write_atomically(output, json.dumps(instances, indent=1) + "\n")
    write_atomically(output.with_suffix(".md"), page(instances))


if __name__ == "__main__":
    main()
