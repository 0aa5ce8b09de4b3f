"""Figures of result files, computed from ranks and lists by plain loops; shares no code with the package."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import linalg, stats

GAINS = {"hr": lambda rank: 1.0, "ndcg": lambda rank: 1 / math.log2(rank + 1), "mrr": lambda rank: 1 / rank}


@cache
def expected(metric: str, cutoff: int, above: int, tied: int) -> float:
    """A metric of one user: the mean of its gains over the ranks that ties allow; above is huge for a miss."""
    gain = GAINS[metric]
    return sum(gain(rank) for rank in range(above + 1, min(above + tied + 1, cutoff) + 1)) / (tied + 1)


@dataclass(frozen=True)
class Result:
    """One result file with what lies beside it."""

    path: Path

    @cached_property
    def record(self) -> dict:
        return json.loads(self.path.read_bytes())

    @cached_property
    def ranks(self) -> dict[str, np.ndarray]:
        table = pq.read_table(self.path.with_suffix(".parquet"))
        return {name: table[name].to_numpy() for name in table.column_names}

    @cached_property
    def users(self) -> list[tuple[str, str]]:
        """User and held-out item of each row of the ranks."""
        table = pq.read_table(self.path.with_name("users.parquet"))
        return list(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))

    @cached_property
    def lists(self) -> list[list[str]]:
        return pq.read_table(self.path.with_name(f"{self.path.stem}.lists.parquet"))["items"].to_pylist()

    @cached_property
    def popularity(self) -> dict[str, int]:
        """Training interactions of each item of the catalogue."""
        path = self.path.with_name("items.parquet")
        if not path.is_file():  # of results without lists
            return {}
        table = pq.read_table(path)
        item, count = table.column_names
        return dict(zip(table[item].to_pylist(), table[count].to_pylist(), strict=True))

    @cache  # noqa: B019 - results live as long as the tests
    def values(self, candidates: str, name: str) -> np.ndarray:
        """A metric such as ndcg@10 of each user: float64 [n_users]."""
        metric, _, cutoff = name.partition("@")
        columns = (self.ranks[f"{candidates}/{part}"].tolist() for part in ("above", "tied"))
        values = np.array([expected(metric, int(cutoff), above, tied) for above, tied in zip(*columns, strict=True)])
        return values * self.ranks.get(f"{candidates}/chance", 1.0)

    def mean(self, candidates: str, name: str, users: str = "all") -> float:
        members = self.ranks[f"slice/{users}"]
        return float(np.mean(self.values(candidates, name)[members])) if members.any() else math.nan

    def list_metric(self, name: str) -> float:
        """Coverage, Gini index, novelty or popularity of the first items of each list."""
        metric, _, cutoff = name.lower().partition("@")
        tops = [items[: int(cutoff)] for items in self.lists]
        times = dict.fromkeys(self.popularity, 0)
        for items in tops:
            for item in items:
                times[item] += 1
        if metric == "coverage":
            return sum(count > 0 for count in times.values()) / len(times)
        if metric == "gini":  # mean absolute difference over twice the mean
            counts = np.sort(np.array(list(times.values()), dtype=float))
            lorenz = np.cumsum(counts) / counts.sum()
            return float(1 + 1 / len(counts) - 2 * lorenz.sum() / len(counts))
        smoothed = sum(self.popularity.values()) + len(self.popularity)
        of_item = {
            "novelty": lambda item: -math.log2((self.popularity[item] + 1) / smoothed),
            "popularity": lambda item: float(self.popularity[item]),
        }[metric]
        return float(np.mean([np.mean([of_item(item) for item in items]) for items in tops if items]))


@dataclass(frozen=True)
class Suite:
    """All results of one version of a suite: scenario -> method -> seed -> result."""

    folder: Path

    @cached_property
    def scenarios(self) -> dict[str, dict[str, dict[int, Result]]]:
        scenarios: dict[str, dict[str, dict[int, Result]]] = {}
        for path in sorted(self.folder.glob("*/*.json")):
            record = json.loads(path.read_bytes())
            if "candidates" in record:  # the others are records of failures
                method = scenarios.setdefault(path.parent.name, {}).setdefault(record["method"], {})
                method[record["seed"]] = Result(path)
        return scenarios

    def block(self, scenario: str, methods: list[str], seeds: list[int], candidates: str, name: str) -> np.ndarray:
        """A metric of some methods with some seeds: float64 [n_methods, n_seeds, n_users]."""
        rows = [self.scenarios[scenario][method] for method in methods]
        return np.array([[row[seed].values(candidates, name) for seed in seeds] for row in rows])

    def compared(self, scenarios: list[str]) -> tuple[list[str], list[int]]:
        """Methods with results on all these scenarios, and their common seeds. One seed does not go with several."""
        seeds = {
            method: set.intersection(*(set(self.scenarios[scenario].get(method, ())) for scenario in scenarios))
            for method in self.scenarios[scenarios[0]]
        }
        seeds = {method: own for method, own in seeds.items() if own}
        several = {method: own for method, own in seeds.items() if len(own) > 1} or seeds
        return list(several), sorted(set.intersection(*several.values()))


@dataclass(frozen=True)
class Spread:
    """Variance between seeds over what user-by-seed variance gives it, with its degrees of freedom."""

    ratio: float
    freedom: float


def parts(values: np.ndarray) -> np.ndarray:
    """What is left of each value without the means of its user and its seed; values: [n_seeds, n_users]."""
    return values - values.mean(0)[None, :] - values.mean(1)[:, None] + values.mean()


def spread(block: np.ndarray) -> Spread:
    """The ratio of mean squares of a two-way analysis of variance, averaged over the rows that depend on their seed."""
    _, n_seeds, n_users = block.shape
    if n_seeds < 2:
        return Spread(1.0, math.inf)
    ratios, shapes = [], []
    for values in block:
        rest = parts(values)
        if (rest**2).sum() <= 1e-12 * n_users:
            continue
        of_seeds = n_users * np.var(values.mean(1), ddof=1)
        of_rest = (rest**2).sum() / ((n_seeds - 1) * (n_users - 1))
        ratios.append(of_seeds / of_rest)
        shapes.append(rest.ravel() / math.sqrt((rest**2).sum()))
    if not ratios:
        return Spread(1.0, math.inf)
    ratio = max(1.0, sum(ratios) / len(ratios))
    alike = sum(float(a @ b) ** 2 for a in shapes for b in shapes)
    independent = len(shapes) ** 2 / alike
    unlike = (1 - 1 / ratio) ** 2 * (independent - 1) / independent**2
    return Spread(ratio, 1 / (1 / (independent * (n_seeds - 1)) + unlike / 2))


def interval(values: np.ndarray, between: Spread) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval; values: [n_seeds, n_users]."""
    n_seeds, n_users = values.shape
    by_seed = (parts(values) ** 2).sum() / max(1, n_seeds - 1) / (n_users - 1) / (n_seeds * n_users)
    by_user = max(0.0, np.var(values.mean(0), ddof=1) / n_users - by_seed)
    total = by_user + between.ratio * by_seed
    if total == 0:
        return float(values.mean()), 0.0
    freedom = 1 / (1 / (n_users - 1) + (between.ratio * by_seed / total) ** 2 / between.freedom)
    return float(values.mean()), float(stats.t.isf(0.025, freedom) * math.sqrt(total))


def adjusted_p(block: np.ndarray, pairs: list[tuple[int, int]], between: Spread, draws: int = 4000) -> list[float]:
    """p-values of differences of rows of `Suite.block`; the largest studentised difference of all pairs decides."""
    rng = np.random.default_rng(20)
    n_rows, n_seeds, n_users = block.shape
    centred = block.mean(1) - block.mean(1).mean(0)
    rest = np.array([parts(values).ravel() for values in block])
    covariance = rest @ rest.T / max(1, n_seeds - 1) / (n_users - 1) / (n_seeds * n_users)
    variances, directions = linalg.eigh(covariance * (between.ratio - 1))
    root = directions @ np.diag(np.sqrt(np.clip(variances, 0, None))) @ directions.T
    left, right = np.array(pairs).T
    by_seed = covariance[left, left] + covariance[right, right] - 2 * covariance[left, right]
    by_user = np.maximum(((centred[left] - centred[right]) ** 2).sum(1) / n_users**2 - by_seed, 0)

    equal = (block[left] == block[right]).all(axis=(1, 2))  # these have no difference to studentise

    def studentised(means: np.ndarray, ratio: float) -> np.ndarray:
        return np.where(equal, 0, (means[left] - means[right]) ** 2 / (by_user + ratio * by_seed + equal))

    observed = studentised(centred.mean(1), between.ratio)
    maxima = np.empty(draws)
    for draw in range(draws):
        means = centred @ rng.choice([-1.0, 1.0], n_users) / n_users
        means = means + root @ (rng.standard_normal(n_rows) * np.sqrt(rng.exponential(size=n_rows)))
        wobble = rng.chisquare(between.freedom) / between.freedom if math.isfinite(between.freedom) else 1.0
        maxima[draw] = studentised(means, between.ratio * wobble).max()
    return [float((maxima >= value * (1 - 1e-6)).mean()) for value in observed]


def over_scenarios(blocks: list[np.ndarray], users: list[list[str]]) -> np.ndarray:
    """One value a person whose mean is the mean over scenarios: [n_rows, n_seeds, n_persons]."""
    persons = sorted({user for own in users for user in own})
    place = {person: index for index, person in enumerate(persons)}
    total = np.zeros((*blocks[0].shape[:2], len(persons)))
    for block, own in zip(blocks, users, strict=True):
        mean = block.mean(axis=2)
        total += mean[:, :, None]
        for column, user in enumerate(own):
            total[:, :, place[user]] += (block[:, :, column] - mean) * len(persons) / len(own)
    return total / len(blocks)


def tables(markdown: str) -> Iterator[tuple[list[str], list[str], list[list[str]]]]:
    """The tables of a page: headings above it, column names, rows of cells."""
    headings: list[str] = []
    header: list[str] | None = None
    rows: list[list[str]] = []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if header is None:
                header = cells
            elif set("".join(cells)) - set(":-"):
                rows.append(cells)
            continue
        if header is not None:
            yield list(headings), header, rows
            header, rows = None, []
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            headings = [*headings[: level - 1], *[""] * (level - 1 - len(headings)), line.lstrip("# ")]
