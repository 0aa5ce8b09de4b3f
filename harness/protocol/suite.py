"""Suites: named, versioned lists of scenarios with their methods and budget. Plain data; YAML is read elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.protocol.scenario import DomainSpec, Scenario


@dataclass(frozen=True)
class Budget:
    """What every trainable method is given, no more and no less.

    Attributes:
        trials: settings that the tuner tries for a method, the best by validation kept. The first are the method's
            defaults, so one trial is no tuning.
        epochs: cap on passes over the training data.
        patience: validations without a gain in NDCG@10 after which training stops.
    """

    trials: int
    epochs: int
    patience: int

    @property
    def of_a_training(self) -> dict[str, int]:
        """What of it decides the outcome of a single training."""
        return {"epochs": self.epochs, "patience": self.patience}


@dataclass(frozen=True)
class Variant:
    """A method that a suite names itself.

    Attributes:
        method: what it is made from: the name of an installed method, or a name in a file, `/path/my_method.py:Markov`.
        settings: those in which it differs from that method as the suite has it; a dot leads inside.
        file_digest: SHA-256 (hex) of the file when the suite was loaded; None for an installed method.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    file_digest: str | None = None


@dataclass(frozen=True)
class Suite:
    """A named, versioned benchmark.

    Attributes:
        name: without the version.
        version: counts from 1.
        title: for people.
        domains: what there is.
        scenarios: what is asked.
        candidates: names of candidate sets.
        candidate_seed: seed of the sampled ones.
        least_recall: an approximate index that finds less of what an exact one finds is refused.
        settings: by method, settings in which the suite departs from the method's own; a dot leads inside.
        variants: methods that the suite names itself, by name: variants of others, and those from files.
        tuned: the folder of settings found for it, which stands beside its file.
        file: where it was read; the paths in it start from this file's folder.
        methods: those that a run of the suite includes unless others are named.
        seeds: those that a run includes unless others are named.
        budget: of every trained method.
    """

    name: str
    version: int
    title: str
    domains: tuple[DomainSpec, ...]
    scenarios: tuple[Scenario, ...]
    candidates: tuple[str, ...]
    candidate_seed: int
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    least_recall: float = 0.99
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    tuned: Path = Path("no settings were tuned")
    file: Path = Path("no file")

    @property
    def id(self) -> str:
        """Name and version, such as `cdsr/v1`."""
        return f"{self.name}/v{self.version}"

    def base_method(self, name: str) -> str:
        """What a method of the suite is made from: an installed method's name, or a file and a name in it."""
        return self.variants[name].method if name in self.variants else name

    def spec(self, domain: str) -> DomainSpec:
        """The domain of that name."""
        return next(spec for spec in self.domains if spec.name == domain)

    def conditions(self, scenario: Scenario, fingerprints: Mapping[str, str]) -> dict[str, object]:
        """What the results of a scenario must have in common; see `conditions`.

        Args:
            scenario: one of the suite's.
            fingerprints: of the prepared domains, by name.
        """
        return conditions(
            data={name: fingerprints[name] for name in scenario.domains},
            split=scenario.split,
            overlap=scenario.overlap,
            overlap_seed=scenario.overlap_seed,
            candidates=self.candidates,
            candidate_seed=self.candidate_seed,
            least_recall=self.least_recall,
            budget=asdict(self.budget),
        )


def conditions(
    data: Mapping[str, str],
    split: str,
    overlap: str,
    overlap_seed: int,
    candidates: Iterable[str],
    candidate_seed: int,
    least_recall: float,
    budget: Mapping[str, int],
) -> dict[str, object]:
    """What results of one scenario must have in common to stand in one table, by aspect, as JSON values.

    Nothing else of a suite binds a result: not its other scenarios and methods, nor the metrics and cutoffs of today,
    which are computed from ranks. A result is bound to its own method's settings too.

    Args:
        data: fingerprints by domain.
        split: the split's name, without instants: the target's data decide those.
        overlap: `kept` or `none`.
        overlap_seed: seed of the draw that leaves shared users in one domain.
        candidates: names of candidate sets.
        candidate_seed: seed of sampled ones.
        least_recall: of retrieved ones.
        budget: of every trained method.
    """
    described = []
    for name in candidates:
        seed, recall = not name.startswith(("full", "retrieved-")), name.startswith("retrieved-")
        described.append(name + f" (seed {candidate_seed})" * seed + f" (recall {least_recall:g} or more)" * recall)
    return {
        "data": dict(data),
        "split": split,
        "overlap": overlap if overlap == "kept" else f"{overlap} (seed {overlap_seed})",
        "candidates": sorted(described),
        "budget": dict(budget),
    }
