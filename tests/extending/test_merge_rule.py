"""A merging rule is added from a package outside the repository, and stands on a board."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.extending.commands import harness
from tests.extending.package import install, lines_of

#: Fisher-weighted averaging (Matena and Raffel, NeurIPS 2022): it needs the model and the training data.
FISHER = """
@dataclass(frozen=True)
class Fisher:
    batches: Annotated[int, Ge(1)] = 4
    name = "Fisher"

    def merge(self, components, context):
        fisher = [self.information(component, context) for component in components]
        total = {layer: sum(f[layer] for f in fisher) for layer in fisher[0]}
        vectors = [component.task_vector for component in components]
        return {n: sum(f[n] * v[n] for f, v in zip(fisher, vectors)) / total[n] for n in total}

    def information(self, component, context):
        with folded(context.model, component.task_vector) as model:
            weights = {n: w.requires_grad_() for n, w in model.named_parameters() if n in component.task_vector}
            squares = {n: torch.full_like(w, 1e-8) for n, w in weights.items()}
            for loss in islice(context.losses(component.mix), self.batches):
                gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True, allow_unused=True)
                for square, gradient in zip(squares.values(), gradients):
                    square += gradient**2
            return squares
"""
MEDIAN = """
def median(task_vectors):
    return {n: torch.stack([v[n] for v in task_vectors]).median(0).values for n in task_vectors[0]}
"""
IMPORTS = """
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import torch
from annotated_types import Ge
from weaverec import folded
"""
SUITE = """
suite: mine
version: 1
title: mine
domains:
  - {name: left, source: table, interactions: left.csv, items: left-items.csv, data_dir: ., k_core: 1}
  - {name: right, source: table, interactions: right.csv, items: right-items.csv, data_dir: ., k_core: 1}
scenarios:
  - {target: left, sources: [right]}
candidates: [full]
methods:
  - naive-merge
  - merge.median
  - weaverec.fisher
  - {name: naive-fisher, method: merge.fisher, settings: {steps: 2, batch: 40, rule: {batches: 2}}}
settings:
  naive-merge: {steps: 2, batch: 40}
  merge.median: {steps: 2, batch: 40}
  weaverec.fisher: {steps: 2, batch: 40, rule.batches: 1}
seeds: [0]
budget: {trials: 1, epochs: 5, patience: 5}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a suite, its data, and an installed package of merging rules."""
    entry_points = {"merge_rules": "fisher = my_rules:Fisher\nmedian = my_rules:median"}
    install(monkeypatch, tmp_path / "site", "my_rules", IMPORTS + FISHER + MEDIAN, entry_points)
    for seed, name in enumerate(("left", "right")):
        rng = np.random.default_rng(seed)
        rows = [f"u{u},{name}{i},{u * 100 + t}" for u in range(20) for t, i in enumerate(rng.permutation(25)[:7])]
        (tmp_path / f"{name}.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
        items = [f"{name}{i},{name} thing {i}" for i in range(25)]
        (tmp_path / f"{name}-items.csv").write_text("\n".join(["item_id,title", *items]) + "\n")
    (tmp_path / "mine.yaml").write_text(SUITE)
    return tmp_path


def test_a_rule_that_needs_model_and_data_takes_twenty_lines_and_stands_on_a_board(shop: Path) -> None:
    assert lines_of(FISHER) <= 20
    assert lines_of(MEDIAN) == 2
    run = harness(shop, "run", "--suite", "mine.yaml", "--device", "cpu", "--json", packages=shop / "site")
    assert run.returncode == 0, run.stderr
    board = (shop / "leaderboards" / "mine-v1.md").read_text().replace("*", "")
    assert all(f"| {name} " in board for name in ("naive-merge", "naive-fisher", "merge.median", "weaverec.fisher"))
    folder = shop / "leaderboards" / "results" / "mine" / "v1" / "left-from-right"
    results = {path.name.removesuffix("-seed0.json"): json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert results["naive-fisher"]["settings"]["rule"] == {"batches": 2}
    assert "rule" not in results["merge.median"]["settings"]
    # The same components, trained once, and other merges of them.
    labels = {name: [record["label"] for record in result["training"]] for name, result in results.items()}
    assert labels["naive-fisher"] == labels["merge.median"] == labels["naive-merge"]
    assert labels["weaverec.fisher"] == ["LoRA on left, seed 0", "LoRA on left + right, seed 0"]

    # Its code and its parameters are part of what a result is known by.
    plan = ("run", "--suite", "mine.yaml", "--device", "cpu", "--dry-run", "--json")
    assert json.loads(harness(shop, *plan, packages=shop / "site").stdout)["missing"] == []
    code = shop / "site" / "my_rules.py"
    code.write_text(code.read_text().replace("gradient**2", "gradient.abs()"))
    changed = json.loads(harness(shop, *plan, packages=shop / "site").stdout)["missing"]
    assert sorted(changed) == ["left-from-right/naive-fisher-seed0", "left-from-right/weaverec.fisher-seed0"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rule: {batches: 2}", "rule: {batches: 0}", "rule.batches: found 0"),
        ("rule: {batches: 2}", "rule: {batch: 2}", "there is no such setting"),
        ("merge.fisher", "merge.fischer", "Did you mean 'fisher'?"),
    ],
)
def test_a_wrong_rule_or_parameter_is_named(shop: Path, old: str, new: str, message: str) -> None:
    (shop / "mine.yaml").write_text(SUITE.replace(old, new))
    run = harness(shop, "run", "--suite", "mine.yaml", "--dry-run", packages=shop / "site")
    assert run.returncode == 2
    assert message in run.stderr
