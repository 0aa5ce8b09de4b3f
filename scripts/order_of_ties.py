"""Prints the effect of file order on NDCG@10, from the results of `leaderboards/experiments/ties.yaml`.

    python scripts/order_of_ties.py

The table is shown in leaderboards/README.md and leaderboards/experiments/README.md; a test compares both with it.
"""

from pathlib import Path

import numpy as np

from harness.report.collect import Board, collect
from harness.report.comparison import MAIN
from harness.report.markdown import bold, table

RESULTS = Path(__file__).parents[1] / "leaderboards" / "experiments" / "results"


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
                bold(f"{before:.4f}", before == max(by_file[domain].values())),
                bold(f"{after:.4f}", after == max(hashed[domain].values())) + f" ({spread:.4f})",
                f"{(after - before) / before:+.0%}",
            ]
        rows.append(row)
    headings = ["method", "Beauty, file order", "hashed", "change", "Toys, file order", "hashed", "change"]
    return table(headings, rows)


def _means(board: Board, target: str) -> dict[str, float]:
    """Mean over users by method."""
    (entries,) = (entries for name, entries in board.scenarios.items() if name.startswith(f"{target}-from-"))
    means = {entry.method: entry.mean(*MAIN) for entry in entries}
    return {method: mean for method, mean in means.items() if mean is not None}


if __name__ == "__main__":
    print(order_of_ties())
