"""Opening a suite's data: prepared domains, and of them either the training part or the test part.

The two parts are opened by two functions at two times. While a method fits, no test event is in memory.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.data import sources, store
from harness.data.domain import Ints
from harness.data.prepare import prepare
from harness.errors import HarnessError
from harness.files import digest
from harness.protocol.candidates import CandidateSet, sample_candidates
from harness.protocol.scenario import DomainSpec, Scenario, Suite
from harness.protocol.split import HeldOut, TrainingData, leave_one_out_test, leave_one_out_training
from harness.run.provenance import source_digest
from harness.run.store import Store

#: Split name -> (training part of a domain, test part of a domain).
SPLITS = {"leave-one-out": (leave_one_out_training, leave_one_out_test)}


def prepare_domains(specs: tuple[DomainSpec, ...], root: Path) -> dict[str, str]:
    """Reads, prepares and stores domains.

    Returns:
        Fingerprint by domain name.

    Raises:
        HarnessError: a source is missing, or its content is not what the suite was made with.
    """
    fingerprints = {}
    for spec in specs:
        fingerprint = store.save(prepare(sources.read(spec.source, spec.name, spec.part), spec.k_core), root)
        if spec.fingerprint not in (None, fingerprint):
            raise HarnessError(
                f"Domain {spec.name!r} has the fingerprint {fingerprint}, not {spec.fingerprint} as its suite says.",
                "The source's files or their preparation changed: results would not be comparable. "
                "Use the versions in constraints.txt, or give the suite a new version.",
            )
        fingerprints[spec.name] = fingerprint
    return fingerprints


def open_training(suite: Suite, scenario: Scenario, fingerprints: Mapping[str, str], root: Path) -> TrainingData:
    """What a method may see of a scenario; the rest is dropped before this returns."""
    training_part = SPLITS[suite.split][0]
    return TrainingData(
        target=scenario.target,
        sources=scenario.sources,
        domains={name: training_part(store.load(fingerprints[name], name, root)) for name in scenario.domains},
    )


def open_test(suite: Suite, scenario: Scenario, fingerprints: Mapping[str, str], root: Path) -> HeldOut:
    """The test events of a scenario's target. Opened once a run, after the method is fitted."""
    return SPLITS[suite.split][1](store.load(fingerprints[scenario.target], scenario.target, root))


def open_candidates(
    suite: Suite, fingerprint: str, test: HeldOut, n_items: int, kind: CandidateSet, cache: Store
) -> Ints:
    """The sampled candidates of a domain: drawn once for (domain, split, seed), stored, the same for every method.

    Returns:
        int64 [n_users, size].
    """
    key = digest(
        {
            "fingerprint": fingerprint,
            "split": suite.split,
            "size": kind.size,
            "seed": suite.candidate_seed,
            "source": source_digest("harness.protocol", "harness.data"),
        }
    )
    if not cache.has("candidates", key):
        drawn = sample_candidates(test.histories.sequences, test.targets, n_items, kind.size, suite.candidate_seed)
        with cache.write("candidates", key, {}) as folder:
            np.save(folder / "candidates.npy", drawn, allow_pickle=False)
    loaded: Ints = np.load(cache.read("candidates", key).folder / "candidates.npy", allow_pickle=False)
    return loaded
