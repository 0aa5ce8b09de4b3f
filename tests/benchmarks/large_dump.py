"""Generate dumps of reviews and prepare each in a new process: time and peak memory by size.

Run: python -m tests.benchmarks.large_dump FOLDER 5000000 50000000
"""

import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

CHUNK = 1_000_000


def generate(folder: Path, n: int, seed: int = 0) -> None:
    """Write a gzipped table of n interactions of n / 8 users with n / 40 items, both with long tails, unsorted."""
    rng = np.random.default_rng(seed)
    n_users, n_items = n // 8, n // 40
    user_share, item_share = (np.cumsum(weights) / weights.sum() for weights in (tail(n_users), tail(n_items)))
    schema = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())])
    with (
        pa.CompressedOutputStream(str(folder / "interactions.csv.gz"), "gzip") as out,
        pyarrow.csv.CSVWriter(out, schema, write_options=pyarrow.csv.WriteOptions(quoting_style="none")) as writer,
    ):
        for _ in range(0, n, CHUNK):
            users = np.searchsorted(user_share, rng.random(CHUNK)) * 2_654_435_761 % 2**40
            items = np.searchsorted(item_share, rng.random(CHUNK)) * 2_654_435_761 % 2**40
            times = rng.integers(1_300_000_000, 1_700_000_000, CHUNK)
            columns = [pa.array(np.char.mod("A%013d", users)), pa.array(np.char.mod("B%09d", items)), pa.array(times)]
            writer.write(pa.table(columns, schema=schema))
    ids = np.char.mod("B%09d", np.arange(n_items) * 2_654_435_761 % 2**40)
    texts = pa.array([f"product {item}" for item in range(n_items)])
    pa.csv.write_csv(pa.table({"item_id": pa.array(ids), "title": texts}), folder / "items.csv")


def tail(n: int) -> np.ndarray:
    """Weights proportional to rank ** -0.8."""
    return np.arange(1, n + 1) ** -0.8


def prepare(folder: Path, answer: "multiprocessing.Queue[tuple]") -> None:
    from harness.data.domain_store import prepare_domain
    from harness.data.sources import make_source
    from harness.run.memory import PeakMemory
    from harness.storage.store import Store

    source = make_source({"source": "table", "interactions": "interactions.csv.gz", "items": "items.csv"})
    with PeakMemory() as peak:
        started = time.perf_counter()
        preparation = prepare_domain(Store(folder / "domains"), source, "large", 5, folder).preparation
        seconds = time.perf_counter() - started
    answer.put(
        (seconds, peak.megabytes(), preparation.users, preparation.items, preparation.interactions, preparation.rounds)
    )


def main() -> None:
    root, sizes = Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        folder = root / str(size)
        if not (folder / "items.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            generate(folder, size)
        answer: multiprocessing.Queue[tuple] = context.Queue()
        process = context.Process(target=prepare, args=(folder, answer))
        process.start()
        seconds, megabytes, users, items, interactions, rounds = answer.get()
        process.join()
        print(
            f"{size:,} interactions: {seconds:.1f} s, peak {megabytes:,.0f} MB; "
            f"{users:,} users, {items:,} items, {interactions:,} interactions left after {rounds} rounds",
            flush=True,
        )


if __name__ == "__main__":
    main()
