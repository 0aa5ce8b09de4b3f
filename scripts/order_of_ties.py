"""Prints what the sorting of a file is worth, from the results of `leaderboards/experiments/ties.yaml`.

    python scripts/order_of_ties.py

The table stands in README.md and leaderboards/experiments/README.md; a test holds both to it.
"""

from pathlib import Path

import numpy as np
from tabulate import tabulate

from harness.report.collect import Board, collect

RESULTS = Path(__file__).parents[1] / "leaderboards" / "experiments" / "results"
_METRIC = ("full", "ndcg@10")


def order_of_ties(results: Path = RESULTS) -> str:
    """NDCG@10 by method in file order and in hashed order, as a markdown table, the best of each column in bold."""
    board = collect(results, "ties", 1)
    domains = ("beauty", "toys")
    by_file = {d: _means(board, f"{d}-file") for d in domains}
    by_hash = {d: [_means(board, f"{d}-hash{seed}") for seed in range(3)] for d in domains}
    hashed = {d: {m: float(np.mean([means[m] for means in by_hash[d]])) for m in by_file[d]} for d in domains}
    methods = sorted(by_file["toys"], key=lambda method: -hashed["toys"][method])
    rows = []
    for method in methods:
        row = [method]
        for domain in domains:
            before, after = by_file[domain][method], hashed[domain][method]
            spread = max(means[method] for means in by_hash[domain]) - min(means[method] for means in by_hash[domain])
            row += [
                _bold(f"{before:.4f}", before == max(by_file[domain].values())),
                _bold(f"{after:.4f}", after == max(hashed[domain].values())) + f" ({spread:.4f})",
                f"{(after - before) / before:+.0%}",
            ]
        rows.append(row)
    headings = ["method", "Beauty, file order", "hashed", "change", "Toys, file order", "hashed", "change"]
    return tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=("left", *["right"] * 6))


def _means(board: Board, target: str) -> dict[str, float]:
    """Mean over users by method."""
    (entries,) = (entries for name, entries in board.scenarios.items() if name.startswith(f"{target}-from-"))
    values = {entry.method: entry.values(*_METRIC) for entry in entries}
    return {method: float(per_user.mean()) for method, per_user in values.items() if per_user is not None}


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


if __name__ == "__main__":
    print(order_of_ties())
