"""Another package's methods, installed for sub-processes, and a small suite that runs them."""

import json
import os
from pathlib import Path

import numpy as np

#: Methods named by what they do. `quick-a` and `quick-b` share their trainings.
METHODS = """
import dataclasses, json, os, signal, time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from harness.methods.api import DotProduct, NoSettings
from harness.methods.artefact import Artefact
from harness.training.record import TrainingRecord


def note(kind, name):
    with open(os.environ["QUICK_JOURNAL"], "a") as journal:
        journal.write(json.dumps([kind, name]) + "\\n")


def make(domain, seed, fails, folder, context):
    name = f"{domain}-{seed}"
    note("begun", name)
    state = context.checkpoint.read()
    done = state[1]["done"] if state else 0
    weights = state[0]["weights"] if state else torch.zeros(4)
    for step in range(done, 4):
        time.sleep(float(os.environ.get("QUICK_SECONDS", "0")) / 4)
        weights = weights + (step + 1) * (seed + 1) * len(domain)
        context.checkpoint.write({"weights": weights}, {"done": step + 1})
        context.report(step + 1, 4)
    if fails and "QUICK_MENDED" not in os.environ:
        raise FloatingPointError("the loss is [nan]\\nat step 3")
    np.save(folder / "weights.npy", weights.numpy())
    note("made", name)
    return TrainingRecord((0.5,), 4, 4, 4, {})


class Quick:
    settings = NoSettings()

    def __init__(self, name):
        self.name = name

    def artefacts(self, data, budget, seed):
        kind = "doomed" if self.name == "doomed" else "quick"
        if self.name == "no-plan":
            raise KeyError("nothing planned")
        if self.name == "popular":
            return []
        return [
            Artefact(kind, f"{kind} on {domain}, seed {seed}", {"domain": domain, "seed": seed, "kind": kind},
                     partial(make, domain, seed, kind == "doomed"))
            for domain in data.domains
        ]

    def fit(self, data, context):
        if "QUICK_MENDED" not in os.environ:
            if self.name == "raises":
                raise ValueError("bad | luck\\n[bold]")
            if self.name == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
        folders = [context.artefacts.get_or_train(a) for a in self.artefacts(data, context.budget, context.seed)]
        weights = sum([float(np.load(folder / "weights.npy").sum()) for folder in folders])
        n = len(data.target_domain.catalogue)
        scores = np.random.default_rng(int(weights) + len(self.name)).random((n, 1)).astype(np.float32)
        if self.name == "nan" and "QUICK_MENDED" not in os.environ:
            scores[0] = np.nan
        return DotProduct(scores, lambda histories: np.ones((len(histories), 1), dtype=np.float32))


NAMES = ["quick-a", "quick-b", "popular", "raises", "nan", "dies", "doomed", "no-plan"]
for name in NAMES:
    globals()[name.replace("-", "_")] = partial(Quick, name)
"""

SUITE = """
suite: small
version: 1
title: "small [bold]suite[/bold]"
domains:
  - {name: left, source: table, interactions: left.csv, items: left-items.csv, data_dir: ., k_core: 1}
  - {name: right, source: table, interactions: right.csv, items: right-items.csv, data_dir: ., k_core: 1}
scenarios:
  - {target: left, sources: [right]}
  - {target: right, sources: [left]}
candidates: [full]
methods: [METHODS]
seeds: [0, 1]
budget: {trials: 1, epochs: 1, patience: 1}
"""


class Shop:
    """A folder with a suite, its data, and a package of methods that sub-processes find."""

    def __init__(self, folder: Path, *methods: str, seconds: float = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.journal_path = folder / "journal"
        self.journal_path.touch()
        install(folder / "site", "quick-methods", "quick_methods", METHODS)
        (folder / "small.yaml").write_text(SUITE.replace("METHODS", ", ".join(methods)))
        for seed, name in enumerate(("left", "right")):
            rng = np.random.default_rng(seed)
            rows = [f"u{u},{name}{i},{u * 100 + t}" for u in range(20) for t, i in enumerate(rng.permutation(25)[:7])]
            (folder / f"{name}.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
            items = [f"{name}{i},thing {i}" for i in range(25)]
            (folder / f"{name}-items.csv").write_text("\n".join(["item_id,title", *items]) + "\n")
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(Path.cwd())]),
            "QUICK_JOURNAL": str(self.journal_path),
            "QUICK_SECONDS": str(seconds),
        }

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of a run of the suite."""
        return ("run", "--suite", "small.yaml", "--device", "cpu", "--jobs", "2")

    def journal(self, kind: str) -> list[str]:
        """Names of the trainings that were begun, or made."""
        entries = map(json.loads, self.journal_path.read_text().splitlines())
        return [name for entry_kind, name in entries if entry_kind == kind]


def install(site: Path, distribution: str, module: str, source: str) -> None:
    """Install a module whose NAMES are methods, as pip would."""
    names = source.partition("NAMES = [")[2].partition("]")[0].replace('"', "").split(", ")
    metadata = site / f"{module}-1.2.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(source)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    points = [f"{name} = {module}:{name.replace('-', '_')}" for name in names]
    (metadata / "entry_points.txt").write_text("\n".join(["[cdsr_harness.methods]", *points]) + "\n")
