from pathlib import Path

import pytest

from harness.data import store
from harness.data.prepare import prepare
from harness.errors import HarnessError
from tests.conftest import toy_raw


def test_round_trip(tmp_path: Path) -> None:
    domain = prepare(toy_raw("left"), 1)
    assert store.save(domain, tmp_path) == domain.fingerprint
    loaded = store.load(domain.fingerprint, "left", tmp_path)
    assert loaded.fingerprint == domain.fingerprint
    assert (loaded.catalogue, loaded.user_ids) == (domain.catalogue, domain.user_ids)


@pytest.mark.parametrize("file", ["interactions.parquet", "catalogue.parquet", "users.parquet"])
@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_damage_is_named_and_never_loaded(tmp_path: Path, file: str, damage: str) -> None:
    domain, other = prepare(toy_raw("left"), 1), prepare(toy_raw("right", seed=5, n_users=29), 1)
    store.save(domain, tmp_path)
    store.save(other, tmp_path)
    path = tmp_path / domain.fingerprint / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes((tmp_path / other.fingerprint / file).read_bytes())
    with pytest.raises(HarnessError, match="Delete that folder"):
        store.load(domain.fingerprint, "left", tmp_path)
