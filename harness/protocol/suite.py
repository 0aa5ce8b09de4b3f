"""Suites: named, versioned lists of scenarios with their methods and budget. Plain data; YAML is read elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.protocol.scenario import DomainSpec, Scenario


@dataclass(frozen=True)
class Budget:
    """The training budget, the same for every trainable method.

    Attributes:
        trials: settings that the tuner tries for a method; it keeps the best by validation. The first are the method's
            defaults, so one trial means no tuning.
        epochs: cap on passes over the training data.
        patience: validations without a gain in NDCG@10 after which training stops.
    """

    trials: int
    epochs: int
    patience: int

    @property
    def training_limits(self) -> dict[str, int]:
        """The fields that affect a single training, as JSON values."""
        return {"epochs": self.epochs, "patience": self.patience}


@dataclass(frozen=True)
class Variant:
    """A method that a suite defines: another method with changed settings, or one from a file.

    Attributes:
        method: the base method: the name of an installed one, or a name in a file, `/path/my_method.py:Markov`.
        settings: changes to the base method's settings in the suite; dotted names reach nested settings.
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
        title: a short description.
        domains: the domains that scenarios may use.
        scenarios: the prediction tasks.
        candidates: names of candidate sets.
        candidate_seed: seed of sampled candidate sets.
        least_recall: minimum recall of an approximate index against an exact one.
        test_users: number of test users, drawn by `candidate_seed`; None for all.
        user_limit: number of users of every domain in a trial run, drawn by `candidate_seed`; None for all.
        settings: changes to methods' default settings, by method; dotted names reach nested settings.
        variants: methods that the suite defines, by name: variants of others, and methods from files.
        tuned: the folder of tuned settings, beside the suite's file.
        file: the suite's file; relative paths in it start from its folder.
        methods: methods that a run includes by default.
        seeds: seeds that a run includes by default.
        budget: the budget of every trained method.
        more_methods: methods that `harness run --all` also runs.
        retired: why the suite is no longer run; None for a current one.
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
    test_users: int | None = None
    user_limit: int | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    tuned: Path = Path("no settings were tuned")
    file: Path = Path("no file")
    more_methods: tuple[str, ...] = ()
    retired: str | None = None

    @property
    def id(self) -> str:
        """Name and version, such as `cdsr/v1`."""
        return f"{self.name}/v{self.version}"

    def limited(self, n: int) -> "Suite":
        """The suite for a trial run with n users of each domain. It has a name of its own, so that no board mixes both.

        Args:
            n: number of users, 1 or more.
        """
        return replace(
            self,
            name=f"{self.name}-limit-{n}",
            title=f"{self.title} (trial run: {n} users of each domain)",
            scenarios=tuple(replace(scenario, pins=()) for scenario in self.scenarios),
            user_limit=n,
        )

    def base_method(self, name: str) -> str:
        """Return a method's base: an installed method's name, or a file and a name in it."""
        return self.variants[name].method if name in self.variants else name

    def spec(self, domain: str) -> DomainSpec:
        """Return the specification of a domain."""
        return next(spec for spec in self.domains if spec.name == domain)

    def conditions(self, scenario: Scenario, fingerprints: Mapping[str, str]) -> dict[str, object]:
        """Return what all results of a scenario must share; see `conditions`.

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
            test_users=self.test_users,
            user_limit=self.user_limit,
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
    test_users: int | None = None,
    user_limit: int | None = None,
) -> dict[str, object]:
    """Return what results of one scenario must share to appear in one table, by aspect, as JSON values.

    Nothing else in a suite affects a result: neither other scenarios and methods, nor metrics and cutoffs, which are
    computed from ranks. Results of one method must also share its settings.

    Args:
        data: fingerprints of the prepared domains, by name.
        split: the split's name, without timestamps, which follow from the target's data.
        overlap: `kept` or `none`.
        overlap_seed: seed of the draw that leaves shared users in one domain.
        candidates: names of candidate sets.
        candidate_seed: seed of sampled candidate sets.
        least_recall: minimum recall of retrieved candidate sets.
        budget: the budget of every trained method.
        test_users: number of drawn test users; None for all.
        user_limit: number of drawn users of every domain; None for all.
    """
    draws = {"test users": test_users, "users of a domain": user_limit}
    descriptions = []
    for name in candidates:
        seed, recall = not name.startswith(("full", "retrieved-")), name.startswith("retrieved-")
        descriptions.append(name + f" (seed {candidate_seed})" * seed + f" (recall {least_recall:g} or more)" * recall)
    return {
        "data": dict(data),
        "split": split,
        "overlap": overlap if overlap == "kept" else f"{overlap} (seed {overlap_seed})",
        "candidates": sorted(descriptions),
        "budget": dict(budget),
        # Without a draw there is no entry, so older conditions stay the same.
        **{name: f"{n} (seed {candidate_seed})" for name, n in draws.items() if n is not None},
    }
