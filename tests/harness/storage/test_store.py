import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.storage.files import leftovers, remove, remove_leftovers
from harness.storage.store import Store


def fill(store: Store) -> Path:
    with store.write("lora", "k", {"label": "x"}) as folder:
        (folder / "weights").write_bytes(b"1234")
    return store.read("lora", "k").folder


def test_round_trip(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = fill(store)
    assert (folder / "weights").read_bytes() == b"1234"
    assert store.read("lora", "k").notes == {"label": "x"}


@pytest.mark.parametrize(
    "damage", ["flipped", "cut", "gone", "manifest cut", "manifest gone", "manifest other", "note flipped"]
)
def test_a_damaged_artefact_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    folder = fill(store)
    weights, manifest = folder / "weights", folder / "manifest.json"
    match damage:
        case "flipped":
            weights.write_bytes(b"1235")
        case "cut":
            weights.write_bytes(b"12")
        case "gone":
            weights.unlink()
        case "manifest cut":
            manifest.write_text(manifest.read_text()[:10])
        case "manifest gone":
            manifest.unlink()
        case "note flipped":
            manifest.write_text(manifest.read_text().replace('"label":"x"', '"label":"y"'))
        case "manifest other":
            manifest.write_text('["files"]')
    with pytest.raises(HarnessError, match=f"Corrupt cached artefact {folder}.*Delete that folder"):
        store.read("lora", "k")


def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def interrupted() -> None:
        with store.write("lora", "k", {}) as folder:
            (folder / "weights").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not store.has("lora", "k")
    assert list((tmp_path / "lora").iterdir()) == []


def test_what_was_stored_before_manifests_had_a_hash_is_still_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = fill(store) / "manifest.json"
    old = json.loads(manifest.read_text())
    del old["sha256"]
    manifest.write_text(json.dumps(old))
    assert store.read("lora", "k").notes == {"label": "x"}


FILLS = """
import os, signal, sys
from pathlib import Path
import harness.storage.files
sys.path.insert(0, "")
root = Path(sys.argv[1])
with harness.storage.files.folder_atomically(root / "lora" / "k") as folder:
    (folder / "half").touch()
    Path.replace = lambda *_: (print("filling", flush=True), sys.stdin.read())
    harness.storage.files.write_atomically(root / "result.json", "{}")
"""


def test_what_a_killed_process_left_is_removed_and_nothing_of_a_live_one(tmp_path: Path) -> None:
    kept = fill(Store(tmp_path / "kept"))
    mine = [tmp_path / ".DS_Store", tmp_path / ".git"]
    for path in mine:
        path.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", FILLS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "filling\n"
    hidden = sorted(tmp_path.glob("**/.*.unfinished"))
    assert len(hidden) == 2
    assert remove_leftovers(tmp_path) == leftovers(tmp_path) == []
    assert sorted(tmp_path.glob("**/.*.unfinished")) == hidden
    process.kill()
    process.wait()
    assert leftovers(tmp_path) == hidden
    assert remove_leftovers(tmp_path, deep=False) == [path for path in hidden if path.parent == tmp_path]
    assert remove_leftovers(tmp_path) == [path for path in hidden if path.parent != tmp_path]
    assert not list(tmp_path.glob("**/.*.unfinished"))
    assert all(path.exists() for path in (*mine, kept))


def test_what_goes_goes_whole(tmp_path: Path) -> None:
    kept = fill(Store(tmp_path))
    remove(kept)
    remove(kept)  # is gone already
    assert list((tmp_path / "lora").iterdir()) == []


def test_two_makers_of_one_thing_do_not_harm_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.write("lora", "k", {}) as slow:
        (slow / "weights").write_bytes(b"1234")
        fill(store)
    assert store.read("lora", "k").notes == {"label": "x"}
    assert [path.name for path in (tmp_path / "lora").iterdir()] == ["k"]


def test_an_unwritable_store_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "lora").write_text("a file where a folder should be")
    with pytest.raises(HarnessError, match=r"Cannot write to .*--cache-dir"), Store(tmp_path).write("lora", "k", {}):
        pass
