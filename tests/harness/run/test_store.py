import os
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.files import folder_atomically, remove_unfinished
from harness.run.store import Store


def fill(store: Store) -> Path:
    with store.write("lora", "k", {"label": "x"}) as folder:
        (folder / "weights").write_bytes(b"1234")
    return store.read("lora", "k").folder


def test_round_trip(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = fill(store)
    assert (folder / "weights").read_bytes() == b"1234"
    assert store.read("lora", "k").notes == {"label": "x"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "manifest cut", "manifest gone", "manifest other"])
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


def test_what_a_stopped_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    mine, other = tmp_path / "lora" / ".k.4711.abc", tmp_path / "lora" / ".k.47.abc"
    kept = fill(Store(tmp_path))
    for folder in (mine, other):
        folder.mkdir()
        (folder / "half").touch()
    file = tmp_path / ".result.json.4711.abc"
    file.touch()
    with folder_atomically(tmp_path / "lora" / "here") as open_folder:
        assert f".{os.getpid()}." in open_folder.name
    remove_unfinished(tmp_path, [4711])
    assert not mine.exists()
    assert not file.exists()
    assert other.exists()
    assert kept.exists()


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
