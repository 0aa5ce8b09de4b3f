"""A fitted toy method's scores and lists, written as another program would write them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from harness.protocol.overlap import user_ids_in_files
from harness.run.scenario_data import open_test, open_training
from tests.harness.report.test_leaderboard import Fixed


class Outsider:
    """The scores of the toy method `fixed` on the scenario `left-from-right`, by id.

    Attributes:
        users: ids of the test users, in order.
        items: ids of the catalogue.
        scores: float32 [n_users, n_items].
        histories: items of each user's history, dense.
        held_out: the test items, dense.
    """

    def __init__(self, toy, seed: int = 0) -> None:
        workspace, scenario = toy.workspace(), toy.suite.scenarios[0]
        training = open_training(workspace, scenario)
        test, target = open_test(workspace, scenario), training.target_domain
        ids = user_ids_in_files(target, None)
        scorer = Fixed().fit(training, type("Context", (), {"seed": seed}))
        self.users = [ids[user] for user in test.histories.users]
        self.items = list(target.catalogue.item_ids)
        self.texts = list(target.catalogue.texts)
        self.scores = scorer.score(test.histories, None)
        self.histories = [set(history.tolist()) for history in test.histories.sequences]
        self.held_out = test.targets
        self.all_users = ids

    def all_scores(self) -> pd.DataFrame:
        """A score for each test user and item of the catalogue."""
        return pd.DataFrame(
            {
                "user_id": np.repeat(self.users, len(self.items)),
                "item_id": np.tile(self.items, len(self.users)),
                "score": self.scores.ravel(),
            }
        )

    def lists(self, length: int = 20) -> dict[str, list[str]]:
        """The best items of each test user outside the history, as a method would recommend them."""
        best = {}
        for user, scores, history in zip(self.users, self.scores, self.histories, strict=True):
            order = [item for item in np.argsort(-scores, kind="stable").tolist() if item not in history]
            best[user] = [self.items[item] for item in order[:length]]
        return best

    def ranked(self, length: int = 20) -> pd.DataFrame:
        """The lists with ranks."""
        rows = [(user, item, rank) for user, items in self.lists(length).items() for rank, item in enumerate(items, 1)]
        return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])

    def write(self, path: Path, length: int | None = None) -> Path:
        """Write scores, or lists of a length, in the format that the suffix says."""
        frame = self.all_scores() if length is None else self.ranked(length)
        WRITERS[path.suffix](frame, path)
        return path


def _write_lines(frame: pd.DataFrame, path: Path) -> None:
    value = "score" if "score" in frame else "rank"
    ordered = frame.sort_values(value, ascending=value == "rank", kind="stable")
    lists = ordered.groupby("user_id", sort=False)["item_id"].apply(list)
    path.write_text("".join(json.dumps({"user_id": user, "items": items}) + "\n" for user, items in lists.items()))


def _write_trec(frame: pd.DataFrame, path: Path) -> None:
    scores = frame["score"].map(lambda score: repr(float(score))) if "score" in frame else 100 - frame["rank"]
    rows = zip(frame["user_id"], frame["item_id"], scores, strict=True)
    path.write_text("".join(f"{user} Q0 {item} 1 {score} mine\n" for user, item, score in rows))


WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
    ".jsonl": _write_lines,
    ".run": _write_trec,
}
