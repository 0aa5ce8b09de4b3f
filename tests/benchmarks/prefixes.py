"""Training a decoder-only retriever: all prefixes of a history in one pass, against one prompt a prefix.

Forward and backward over every prefix of some users of Amazon Beauty, by a random Qwen2 of 4 layers and 256 hidden
units with LoRA on all of them, in one thread; the items' side is the same in both ways, and left out. The ways take
turns, and ratios are taken round by round. (The losses differ a little: of a history of more than 21 items, one pass
shows some prefixes fewer than their latest 20 items.)

    python -m tests.benchmarks.prefixes leaderboards/speed/prefixes.json

writes that file and, beside it, the table `prefixes.md`. It reads the data from CDSR_DATA, and takes a few minutes.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tabulate import tabulate

from harness.data.domain import Sequences
from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.protocol.split import DomainTraining, LeaveOneOut
from harness.run.provenance import hardware
from tests.benchmarks.writing import write_measured
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import load
from weaverec.lm.lora import LoraSettings, adapted
from weaverec.retriever.encoding import RetrieverSettings, history_encoder

WAYS = ("one pass a history", "one prompt a prefix")
USERS, USERS_PER_BATCH, ROUNDS = 192, 24, 4


def beauty() -> DomainTraining:
    """Amazon Beauty under leave-one-out.

    Raises:
        HarnessError: its file is not in CDSR_DATA.
    """
    folder = Path(os.environ.get("CDSR_DATA", "data"))
    return LeaveOneOut().training(prepare(load_dataset("amazon2014-beauty").source.open("beauty", folder), 1))


def steps(domain: DomainTraining, folder: Path) -> tuple[int, dict[str, Callable[[], float]]]:
    """The number of prefixes, and for each way a step that computes all gradients and returns the mean loss."""
    torch.manual_seed(0)
    backbone = decoder("qwen2", folder, hidden_size=256, num_hidden_layers=4)
    base, tokenizer = load(backbone)
    model = adapted(base, backbone, LoraSettings())
    reading = history_encoder(backbone, domain.catalogue, tokenizer, RetrieverSettings())
    users_drawn = np.random.default_rng(0).permutation(np.flatnonzero(domain.train.lengths > 1))[:USERS]
    batches = [domain.train.select(users) for users in np.split(users_drawn, USERS // USERS_PER_BATCH)]
    vectors = F.normalize(torch.randn(len(reading), 256), dim=-1)
    prefixes = sum(int((batch.lengths - 1).sum()) for batch in batches)

    def encode(way: str, batch: Sequences) -> torch.Tensor:
        if way == WAYS[0]:
            return reading.prefixes(model, batch, vectors).vectors
        prompts = Sequences.of([items[:end] for items in batch for end in range(1, len(items))])
        return reading.histories(model, prompts, vectors)

    def step(way: str) -> float:
        total = 0.0
        for batch in batches:
            targets = torch.from_numpy(np.concatenate([items[1:] for items in batch]))
            loss = F.cross_entropy(encode(way, batch) @ vectors.T / 0.1, targets, reduction="sum") / prefixes
            loss.backward()
            total += float(loss.detach())
        return total

    return prefixes, {way: partial(step, way) for way in WAYS}


def measure() -> dict[str, Any]:
    """Measure the seconds of every round of both ways."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        prefixes, ways = steps(beauty(), Path(folder))
        losses = {way: step() for way, step in ways.items()}  # also warms up
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, step in ways.items():
                started = time.perf_counter()
                step()
                seconds[way].append(time.perf_counter() - started)
    packages = {name: version(name) for name in ("torch", "transformers", "peft")}
    results = {"users": USERS, "prefixes": prefixes, "losses": losses, "seconds": seconds}
    return {**results, "hardware": hardware("cpu"), "packages": packages}


def table(measured: dict[str, Any]) -> str:
    """The table of a measurement."""
    seconds = {way: np.array(rounds) for way, rounds in measured["seconds"].items()}
    body = []
    for way in WAYS:
        low, middle, high = np.quantile(seconds[WAYS[1]] / seconds[way], [0.25, 0.5, 0.75])
        median = np.median(seconds[way])
        body.append(
            [
                way,
                f"{median:.2f} s",
                f"{measured['prefixes'] / median:.0f}",
                f"{middle:.1f} ({low:.1f} to {high:.1f})",
                f"{measured['losses'][way]:.5f}",
            ]
        )
    headings = ["way", "a step", "prefixes/s", "times as fast, median (quartiles)", "loss"]
    return tabulate(body, headings, tablefmt="pipe", disable_numparse=True)


def main(target: Path) -> None:
    """Run the benchmark; write results as JSON and a table as markdown."""
    measured = measure()
    title, _, account = (__doc__ or "").partition("\n    python")[0].strip().partition("\n\n")
    remark = f"Users: {USERS}, with {measured['prefixes']} prefixes; rounds: {ROUNDS}."
    about = f"{title.rstrip('.')}\n\n{account}"
    write_measured(target, measured, about, table(measured), remark, "tests.benchmarks.prefixes")
    print(table(measured))


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["leaderboards/speed/prefixes.json"]))
