"""What a cache holds, and what of it can go."""

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
    done = CliRunner().invoke(app, ["cache", *arguments])
    return done.exit_code, done.output


def kinds(cache: Path, *more: str) -> list[tuple[str, str]]:
    return [(e["kind"], e["label"]) for e in json.loads(harness("ls", "--json", "--cache-dir", str(cache), *more)[1])]


EVERYTHING = [
    ("checkpoint", ""),
    ("domain", "left"),
    ("domain", "right"),
    ("leftover", ""),
    ("lora", "LoRA on [comedy]"),
    ("lora", "LoRA on drama"),
    ("preparation", "left"),
    ("preparation", "right"),
]


def test_all_is_listed_by_its_label(cache: Path) -> None:
    assert kinds(cache) == EVERYTHING
    code, out = harness("ls", "--cache-dir", str(cache))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == [kind for kind, _ in EVERYTHING]
    assert "LoRA on [comedy]" in out
    assert out.splitlines()[-1].startswith("8 entries, ")


def test_an_empty_cache_has_nothing(tmp_path: Path) -> None:
    assert harness("ls", "--json", "--cache-dir", str(tmp_path / "none")) == (0, "[]\n")
    assert harness("verify", "--cache-dir", str(tmp_path / "none"))[0] == 0


def test_hashes_are_verified(cache: Path) -> None:
    code, out = harness("verify", "--json", "--cache-dir", str(cache))
    assert code == 1
    assert [(e["kind"], e["label"]) for e in json.loads(out)] == [("leftover", ""), ("lora", "LoRA on drama")]
    domain = next(path for path in (cache / "store" / "domain").glob("*/users.parquet"))
    domain.write_bytes(b"PAR1")
    code, out = harness("verify", "--cache-dir", str(cache))
    assert (code, "users.parquet has changed" in out, "8 entries checked, 3 with a fault" in out) == (1, True, True)


def test_what_is_unfinished_or_corrupt_goes(cache: Path) -> None:
    would = harness("prune", "--dry-run", "--json", "--cache-dir", str(cache))[1]
    assert kinds(cache) == EVERYTHING
    code, out = harness("prune", "--json", "--cache-dir", str(cache))
    assert (code, out) == (0, would)
    assert [(e["kind"], e["reason"]) for e in json.loads(out)] == [
        *(("checkpoint", "unfinished"), ("leftover", "unfinished"), ("lora", "corrupt"))
    ]
    assert (
        kinds(cache)
        == [entry for entry in EVERYTHING if entry[0] in ("domain", "lora", "preparation")][:3] + EVERYTHING[-2:]
    )
    assert harness("verify", "--cache-dir", str(cache))[0] == 0
    assert not list(cache.rglob(".*"))


def test_what_was_not_used_for_some_days_goes_where_that_is_asked_for(cache: Path) -> None:
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


def test_nothing_that_is_being_made_goes(cache: Path) -> None:
    store = Store(cache / "store")
    with store.locked("lora", "3" * 64, "training"), folder_atomically(cache / "store" / "lora" / "4") as filled:
        harness("prune", "--cache-dir", str(cache))
        assert filled.is_dir()
        assert store.unfinished_path("lora", "3" * 64).exists()
    harness("prune", "--cache-dir", str(cache))
    assert not store.unfinished_path("lora", "3" * 64).exists()
