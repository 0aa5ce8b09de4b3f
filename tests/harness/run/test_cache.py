"""Listing, verifying and pruning the cache."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from harness.cli.app import app
from harness.storage.files import folder_atomically
from harness.storage.store import Store
from harness.training.checkpoint import Checkpoint


@pytest.fixture
def cache(toy) -> Path:
    """Two domains, two artefacts (one of them corrupt), and a checkpoint."""
    store = toy.workspace().store
    for key, label in (("1" * 64, "LoRA on [comedy]"), ("2" * 64, "LoRA on drama")):
        with store.write("lora", key, {"label": label}) as folder:
            (folder / "weights").write_bytes(b"1234")
    (toy.cache / "store" / "lora" / ("2" * 64) / "weights").write_bytes(b"1235")
    Checkpoint(store.unfinished_path("lora", "3" * 64)).write({"weights": torch.ones(3)}, {})
    (toy.cache / "store" / "lora" / ".half.unfinished").mkdir()
    return toy.cache


def harness(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["cache", *arguments])
    return result.exit_code, result.output


def listed_entries(cache: Path) -> list[tuple[str, str]]:
    _, out = harness("ls", "--json", "--cache-dir", str(cache))
    return [(entry["kind"], entry["label"]) for entry in json.loads(out)]


ENTRIES = [
    ("checkpoint", ""),
    ("domain", "left"),
    ("domain", "right"),
    ("leftover", ""),
    ("lora", "LoRA on [comedy]"),
    ("lora", "LoRA on drama"),
    ("preparation", "left"),
    ("preparation", "right"),
]


def test_ls_shows_every_entry_with_its_label(cache: Path) -> None:
    assert listed_entries(cache) == ENTRIES
    code, out = harness("ls", "--cache-dir", str(cache))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == [kind for kind, _ in ENTRIES]
    assert "LoRA on [comedy]" in out
    assert out.splitlines()[-1].startswith("8 entries, ")


def test_empty_cache_has_no_entries(tmp_path: Path) -> None:
    assert harness("ls", "--json", "--cache-dir", str(tmp_path / "none")) == (0, "[]\n")
    assert harness("verify", "--cache-dir", str(tmp_path / "none"))[0] == 0


def test_verify_reports_corrupt_and_unfinished_entries(cache: Path) -> None:
    code, out = harness("verify", "--json", "--cache-dir", str(cache))
    assert code == 1
    assert [(e["kind"], e["label"]) for e in json.loads(out)] == [("leftover", ""), ("lora", "LoRA on drama")]
    domain = next(path for path in (cache / "store" / "domain").glob("*/users.parquet"))
    domain.write_bytes(b"PAR1")
    code, out = harness("verify", "--cache-dir", str(cache))
    assert (code, "users.parquet has changed" in out, "8 entries checked, 3 with a fault" in out) == (1, True, True)


def test_prune_removes_unfinished_and_corrupt_entries(cache: Path) -> None:
    dry_run_output = harness("prune", "--dry-run", "--json", "--cache-dir", str(cache))[1]
    assert listed_entries(cache) == ENTRIES
    code, out = harness("prune", "--json", "--cache-dir", str(cache))
    assert (code, out) == (0, dry_run_output)
    assert [(e["kind"], e["reason"]) for e in json.loads(out)] == [
        *(("checkpoint", "unfinished"), ("leftover", "unfinished"), ("lora", "corrupt"))
    ]
    assert (
        listed_entries(cache)
        == [entry for entry in ENTRIES if entry[0] in ("domain", "lora", "preparation")][:3] + ENTRIES[-2:]
    )
    assert harness("verify", "--cache-dir", str(cache))[0] == 0
    assert not list(cache.rglob(".*"))


def test_prune_unused_removes_entries_by_last_use(cache: Path) -> None:
    kept = cache / "store" / "lora" / ("1" * 64)
    long_ago = time.time() - 10 * 86400
    for path in [kept, *kept.iterdir()]:
        os.utime(path, (long_ago, long_ago))
    harness("prune", "--unused", "11", "--cache-dir", str(cache))
    assert kept.is_dir()
    Store(cache / "store").read("lora", "1" * 64)  # is a use
    harness("prune", "--unused", "9", "--cache-dir", str(cache))
    assert kept.is_dir()
    os.utime(kept / "manifest.json", (long_ago, long_ago))
    code, out = harness("prune", "--unused", "9", "--cache-dir", str(cache))
    assert (code, "unused: lora LoRA on [comedy]" in out) == (0, True)
    assert not kept.exists()


def test_prune_keeps_entries_that_are_being_written(cache: Path) -> None:
    store = Store(cache / "store")
    with store.locked("lora", "3" * 64, "training"), folder_atomically(cache / "store" / "lora" / "4") as temporary:
        harness("prune", "--cache-dir", str(cache))
        assert temporary.is_dir()
        assert store.unfinished_path("lora", "3" * 64).exists()
    harness("prune", "--cache-dir", str(cache))
    assert not store.unfinished_path("lora", "3" * 64).exists()
