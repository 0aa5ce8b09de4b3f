"""Checks of this machine and installation, each with what to do about a fault."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, entry_points, metadata, requires, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from harness.datasets import dataset_names, load_dataset
from harness.errors import HarnessError
from harness.extensions import GROUP_PREFIX, distribution_name, entries_by_name, load_extension, single_entry
from harness.methods.registry import not_installed
from harness.run.cache import CHECKPOINT, LEFTOVER, entries
from harness.run.record import liveness, read_states
from harness.storage.store import read_manifest
from harness.training.device import has_bfloat16

_DISTRIBUTION = "cdsr-harness"
#: Free memory of one worker, and free disk of an installation's larger suites and of one small run, in GB.
_WORKER_GB, _ROOMY_DISK_GB, _LEAST_DISK_GB = 4.5, 5.0, 0.5


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        outcome: `ok`; `warning`: usable, but something is missing or slow; `problem`: must be fixed.
        about: what was checked.
        text: what was found.
        fix: what to do about it; empty for `ok`.
    """

    outcome: Literal["ok", "warning", "problem"]
    about: str
    text: str
    fix: str = ""


def examine(cache_dir: Path, data_dir: Path) -> Iterator[Finding]:
    """Run all checks.

    Args:
        cache_dir: the folder of the cache, which need not exist.
        data_dir: the folder of the data sets' files, which need not exist.
    """
    yield _python()
    yield from _versions()
    yield from _constraints()
    yield from _optional()
    yield _threads()
    yield from _devices()
    yield _memory()
    yield _disk(cache_dir)
    yield _data(data_dir)
    yield from _plug_ins()
    yield from _cache(cache_dir)
    yield from _commands(cache_dir)


def _python() -> Finding:
    allowed, found = metadata(_DISTRIBUTION)["Requires-Python"] or "", platform.python_version()
    if SpecifierSet(allowed).contains(found, prereleases=True):
        return Finding("ok", "Python", found)
    return Finding("problem", "Python", f"{found}, but {allowed} is needed", "Install the harness with another Python.")


def _versions() -> Iterator[Finding]:
    """The packages that the harness requires."""
    wrong = []
    needed = [Requirement(line) for line in requires(_DISTRIBUTION) or ()]
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, but {requirement.specifier} is needed")
    if not wrong:
        yield Finding("ok", "packages", f"{len(needed)} required, all installed")
    for line in wrong:
        yield Finding("problem", "packages", line, f"Run: pip install --upgrade {_DISTRIBUTION}, or: make install")


def _constraints() -> Iterator[Finding]:
    """The versions that were tested together, where the harness runs from a checkout."""
    path = Path(__file__).parents[2] / "constraints.txt"
    if not path.is_file():
        return
    pinned, other = 0, []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            requirement = Requirement(line.partition("#")[0])
            found = version(requirement.name)
        except (InvalidRequirement, PackageNotFoundError):
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            pinned += 1
            if not requirement.specifier.contains(found, prereleases=True):
                other.append(f"{requirement.name} {found} instead of {str(requirement.specifier).lstrip('=')}")
    if other:
        text = f"{len(other)} of {pinned} are not those that were tested together: {', '.join(other[:5])}"
        text += ", …" * (len(other) > 5)
        yield Finding("warning", "constraints", text, f"For the tested versions: pip install -c {path.name} -e .")
    else:
        yield Finding("ok", "constraints", f"{pinned} versions, as tested together")


def _optional() -> Iterator[Finding]:
    """What the methods lack that come with the harness or with plug-ins."""
    lacking: dict[str, list[str]] = {}
    for name, reason in not_installed().items():
        lacking.setdefault(reason, []).append(name)
    for reason, names in lacking.items():
        fix = "Install it; for RecBole: pip install --no-deps recbole==1.2.1 colorama colorlog texttable"
        yield Finding("warning", "optional packages", f"{reason} Not usable: {', '.join(names)}", fix)
    if not lacking:
        yield Finding("ok", "optional packages", "all methods can be imported")


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS")
    text = f"{cores} cores; torch uses {torch.get_num_threads()} threads, OMP_NUM_THREADS is {asked or 'not set'}"
    if asked and asked.isdecimal() and int(asked) > cores:
        return Finding("warning", "threads", text, f"Set OMP_NUM_THREADS to {cores} or less, or unset it.")
    return Finding("ok", "threads", f"{text}; each worker of a run computes with one")


def _devices() -> Iterator[Finding]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        yield Finding("ok", "GPU", ", ".join(f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in names))
    elif shutil.which("nvidia-smi"):
        text = f"nvidia-smi is here, but torch {torch.__version__} sees no GPU"
        yield Finding("warning", "GPU", text, "Install a CUDA build of torch, see https://pytorch.org/get-started.")
    else:
        yield Finding("ok", "GPU", "none; the suites cdsr, cdsr-planted and cdsr-amazon-dense need none")
    if has_bfloat16(device):
        yield Finding("ok", "bfloat16", f"in hardware ({device})")
    else:
        text = f"not in hardware ({device}): language models train in float32, slower and with slightly other figures"
        yield Finding("warning", "bfloat16", text, "Compare figures with those of machines of one kind only.")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB are free"
    if memory.available < _WORKER_GB * 1e9:
        fix = "Close other programs, or use --jobs 1 and smaller suites."
        return Finding("warning", "memory", f"{text}; a worker may need {_WORKER_GB} GB", fix)
    return Finding("ok", "memory", text)


def _disk(cache_dir: Path) -> Finding:
    folder = next(path for path in (cache_dir.resolve(), *cache_dir.resolve().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("problem", "disk", f"{folder} cannot be written to", "Choose another folder with --cache-dir.")
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.1f} GB are free for the cache in {cache_dir}"
    if free < _ROOMY_DISK_GB:
        outcome: Literal["warning", "problem"] = "problem" if free < _LEAST_DISK_GB else "warning"
        return Finding(outcome, "disk", text, "Free some space, or run: harness cache prune --unused 30")
    return Finding("ok", "disk", text)


def _data(data_dir: Path) -> Finding:
    datasets = [load_dataset(name) for name in dataset_names()]
    here = [each.name for each in datasets if each.is_in(data_dir)]
    if not here:
        fix = "Run: harness data list, then harness data fetch; or set CDSR_DATA to the folder of the files."
        return Finding("warning", "data", f"none of {len(datasets)} data sets is in {data_dir} or a package", fix)
    return Finding(
        "ok", "data", f"{len(here)} of {len(datasets)} data sets, in {data_dir} or packages: {', '.join(here)}"
    )


def _plug_ins() -> Iterator[Finding]:
    """Entry points of other distributions, and names that two offer."""
    plug_ins = set()
    for group in sorted(name for name in entry_points().groups if name.startswith(GROUP_PREFIX)):
        for name, offers in sorted(entries_by_name(group).items()):
            try:
                entry = single_entry(group, name, offers)
                if distribution_name(entry) == _DISTRIBUTION:
                    continue
                plug_ins.add(distribution_name(entry))
                load_extension(entry)
            except HarnessError as error:
                yield Finding("problem", "plug-ins", error.what, error.hint)
    listed = ", ".join(f"{name} {distribution(name).version}" for name in sorted(plug_ins))
    yield Finding("ok", "plug-ins", listed or "none besides those of the harness")


def _cache(cache_dir: Path) -> Iterator[Finding]:
    listed = entries(cache_dir)
    left = [entry for entry in listed if entry.kind == LEFTOVER]
    unreadable = [e for e in listed if e.kind not in (LEFTOVER, CHECKPOINT) and not _has_manifest(e.path)]
    size = sum(entry.size for entry in listed) / 1e9
    if left or unreadable:
        text = f"{len(left)} temporary files of killed commands, {len(unreadable)} damaged entries in {cache_dir}"
        yield Finding("warning", "cache", text, "Run: harness cache verify, then harness cache prune")
    else:
        yield Finding("ok", "cache", f"{len(listed)} entries, {size:.1f} GB in {cache_dir}; contents were not checked")


def _has_manifest(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _commands(cache_dir: Path) -> Iterator[Finding]:
    """The last command on each suite, if its process died."""
    last = {(state.command, state.suite): state for state in reversed(read_states(cache_dir))}
    for state in last.values():
        if liveness(state) == "died":
            command = f"harness {state.command} --suite {state.suite}"
            fix = f"Run the same command again: it resumes. Log: {state.log}"
            yield Finding("warning", "commands", f"the process of {command} died", fix)
