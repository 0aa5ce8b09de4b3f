"""What every task of a command works with: a suite, its prepared domains, the store and the device."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.data.domain import Domain
from harness.data.domain_store import PreparedDomain, load_domain, prepare_domain
from harness.data.records import ReadProgress, no_read_progress
from harness.data.ties import TieAudit
from harness.errors import HarnessError
from harness.protocol.scenario import DomainSpec
from harness.protocol.suite import Suite
from harness.run.energy import EnergyTracking
from harness.run.progress import NO_PROGRESS, Progress
from harness.storage.files import check_writable, remove_leftovers
from harness.storage.locks import Tell, remove_stale_locks
from harness.storage.store import LOCKS, Store

#: A preparation that takes longer, in seconds, gets a line of its own in a log.
_LONG_S = 2


@dataclass(frozen=True)
class Workspace:
    """A suite with its prepared domains, the store of what was made, and the device.

    Attributes:
        suite: the suite.
        store: prepared domains, trained artefacts and results.
        device: `cpu` or `cuda`.
        fingerprints: content of the prepared domains, by domain name.
        ties: audit of the order of each domain's ties, by domain name.
        energy: how energy is tracked. None: it is not.
    """

    suite: Suite
    store: Store
    device: str = "cpu"
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    ties: Mapping[str, TieAudit] = field(default_factory=dict)
    energy: EnergyTracking | None = None

    def domain(self, name: str) -> Domain:
        """Load a domain and verify it.

        Raises:
            HarnessError: it is missing or corrupt.
        """
        return load_domain(self.store, self.fingerprints[name], name)

    def telling(self, tell: Tell) -> "Workspace":
        """The same workspace, whose store reports to `tell`."""
        return replace(self, store=Store(self.store.root, tell))


def open_workspace(
    suite: Suite,
    *,
    cache_dir: Path,
    data_dir: Path,
    device: str = "cpu",
    domains: Sequence[str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Workspace:
    """Prepare a suite's domains and open the store.

    Args:
        suite: the suite.
        cache_dir: the folder of the store.
        data_dir: the folder of the data sets' files.
        device: `cpu` or `cuda`.
        domains: names of the domains that are needed. None: all.
        progress: told of each domain, and of the rows that its preparation dropped.

    Raises:
        HarnessError: a file is missing or broken, the content is not what the suite pins, or the cache folder cannot
            be written to.
    """
    check_writable(cache_dir)
    remove_unfinished(cache_dir)
    store = Store(cache_dir / "store", progress.say)
    specs = [spec for spec in suite.domains if domains is None or spec.name in domains]
    prepared = prepare_domains(specs, store, data_dir, progress)
    return Workspace(
        suite,
        store,
        device,
        {name: domain.preparation.fingerprint for name, domain in prepared.items()},
        {name: domain.preparation.ties for name, domain in prepared.items()},
    )


def prepare_domains(
    specs: Sequence[DomainSpec],
    store: Store,
    data_dir: Path,
    progress: Progress = NO_PROGRESS,
    quiet: bool = False,
) -> dict[str, PreparedDomain]:
    """Prepare domains, or find them in the store, and check their fingerprints.

    Args:
        specs: the domains.
        store: where they go.
        data_dir: the folder of the data sets' files.
        progress: told of each domain.
        quiet: do not say which rows were dropped.

    Returns:
        The prepared domains by name.

    Raises:
        HarnessError: a file is missing or broken, or the content is not what the suite pins.
    """
    prepared: dict[str, PreparedDomain] = {}
    progress.phase("Preparing", {spec.name: 1.0 for spec in specs})
    for spec in specs:
        started = time.monotonic()
        report = _step_of(spec.name, progress)
        domain = prepare_domain(store, spec.source, spec.name, spec.k_core, spec.folder or data_dir, report, spec.ties)
        fingerprint = domain.preparation.fingerprint
        if spec.fingerprint not in (None, fingerprint):
            raise HarnessError(
                f"Domain {spec.name!r} has the fingerprint {fingerprint}, but its suite pins {spec.fingerprint}: "
                "the source's files or their preparation changed, and results would not be comparable.",
                "Get the right files, or give the suite a new version.",
            )
        seconds = time.monotonic() - started
        if domain.fresh and seconds > _LONG_S:
            progress.finish(spec.name, seconds=seconds)
        for line in () if quiet else domain.preparation.lines():
            progress.say(f"{spec.name}: {line}")
        prepared[spec.name] = domain
    return prepared


def _step_of(task: str, progress: Progress) -> ReadProgress:
    if progress is NO_PROGRESS:
        return no_read_progress
    return lambda what, done, total: progress.step(task, done, total, what)


def remove_unfinished(*folders: Path, deep: bool = True) -> None:
    """Remove temporary files and stale locks of killed commands; never those of a running one.

    Args:
        folders: where to look.
        deep: in the folders below them too.
    """
    for folder in folders:
        remove_leftovers(folder, deep)
        for locks in folder.rglob(LOCKS) if deep else ():
            remove_stale_locks(locks)
