"""What serving costs: the base model, a merged model, and the base with an adapter on it.

Each is loaded in a process of its own, as who serves it would: the base and the merged model as plain Hugging Face
folders with `AutoModel`, the adapter on top by PEFT. They encode the titles of a catalogue in turn, in another order
each round, in float32 with one thread; ratios are taken round by round, so that what else the machine does weighs on
both sides. Where its memory happens to lie makes a process a hundredth or two faster or slower for all its life, so
all are started several times, in another order each time. Memory is the weights that are held, and the process's peak.

    python -m tests.benchmarks.serving leaderboards/speed/serving.json

writes that file and, beside it, the table `serving.md`. It takes some six minutes.
"""

import json
import subprocess
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
from tabulate import tabulate

from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.run.memory import PeakMemory
from harness.run.provenance import hardware
from tests.benchmarks.writing import write_measured
from weaverec.lm.backbone import Backbone, find_backbone, load
from weaverec.merging.task_vectors import fold, save_model, task_vector, weighted_sum
from weaverec.retriever.encoding import RetrieverSettings, catalogue_vectors, history_encoder

STARTS, ROUNDS = 10, 6
SERVED = ("base", "merged", "base again", "adapter")


def prepare_folders(folder: Path) -> None:
    """Write folders of the base model, of two random components merged into it, and of one as an adapter."""
    from peft import LoraConfig, get_peft_model

    base = find_backbone("minilm")
    model, tokenizer = load(base)
    save_model(model, tokenizer, folder / "base", base.name, [])
    parts = []
    for number in range(2):
        torch.manual_seed(number)
        adapted = get_peft_model(load(base)[0], LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.01)
        parts.append(folder / f"component-{number}")
        adapted.save_pretrained(parts[-1], save_embedding_layers=False)
    merged = fold(load(base)[0], weighted_sum([task_vector(part) for part in parts], [0.5, 0.5]))
    save_model(merged, tokenizer, folder / "merged", base.name, ["two random components"])


def serve(name: str, folder: Path) -> None:
    """Run one process: load, encode the catalogue once for each line of input, and print the memory used."""
    torch.set_num_threads(1)
    with PeakMemory() as peak:
        model, encode = _load(name, folder)
        encode()
        print("ready", flush=True)
        for _ in sys.stdin:
            started = time.perf_counter()
            encode()
            print(time.perf_counter() - started, flush=True)
    weights = sum(part.numel() * part.element_size() for part in (*model.parameters(), *model.buffers()))
    print(json.dumps({"weights_mb": weights / 1e6, "peak_mb": peak.megabytes()}))


def _load(name: str, folder: Path) -> tuple[torch.nn.Module, Callable[[], object]]:
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    plain = folder / ("merged" if name == "merged" else "base")
    model: Any = AutoModel.from_pretrained(plain)
    if name == "adapter":
        model = PeftModel.from_pretrained(model, folder / "component-0")
    domain = prepare(load_dataset("movielens-100k-drama").source.open("drama", Path()), 5)
    tokenizer = AutoTokenizer.from_pretrained(plain)
    reading = history_encoder(Backbone(name, plain), domain.catalogue, tokenizer, RetrieverSettings())
    return model.eval(), partial(catalogue_vectors, model, reading)


def measure() -> dict[str, Any]:
    """Measure the seconds of every round of every start, and the memory of each start."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in SERVED}
    memory: dict[str, list[dict[str, float]]] = {name: [] for name in SERVED}
    order = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        prepare_folders(Path(folder))
        for _ in range(STARTS):
            _one_start(folder, order, seconds, memory)
    packages = {name: version(name) for name in ("torch", "transformers", "peft")}
    return {"seconds": seconds, "memory": memory, "hardware": hardware("cpu"), "packages": packages}


def _one_start(
    folder: str,
    order: np.random.Generator,
    seconds: dict[str, list[list[float]]],
    memory: dict[str, list[dict[str, float]]],
) -> None:
    processes = {}
    for name in order.permutation(SERVED):
        processes[name] = process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.serving", "--serve", name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        seconds[name].append([])
    for _ in range(ROUNDS):
        for name in order.permutation(SERVED):
            process = processes[name]
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[name][-1].append(float(process.stdout.readline()))
    for name, process in processes.items():
        memory[name].append(json.loads(process.communicate()[0]))


def table(measured: dict[str, Any]) -> str:
    """The table of a measurement."""
    seconds = {name: np.array(starts) for name, starts in measured["seconds"].items()}
    medians = {
        name: {kind: float(np.median([start[kind] for start in starts])) for kind in ("weights_mb", "peak_mb")}
        for name, starts in measured["memory"].items()
    }
    body = []
    for name in SERVED:
        low, middle, high = np.quantile(np.median(seconds[name] / seconds["base"], axis=1), [0.25, 0.5, 0.75])
        memory = medians[name]
        body.append(
            [
                name,
                f"{np.median(seconds[name]):.3f} s",
                f"{middle:.3f} ({low:.3f} to {high:.3f})",
                *(
                    f"{memory[kind]:.1f} MB ({memory[kind] / medians['base'][kind]:.3f})"
                    for kind in ("weights_mb", "peak_mb")
                ),
            ]
        )
    headings = ["served", "a round", "ratio to the base's, median (quartiles)", "weights (ratio)", "peak (ratio)"]
    return tabulate(body, headings, tablefmt="pipe", disable_numparse=True)


def main(target: Path) -> None:
    """Run the benchmark; write results as JSON and a table as markdown."""
    measured = measure()
    title, _, account = (__doc__ or "").partition("\n    python")[0].strip().partition("\n\n")
    remark = (
        f"Starts: {STARTS}, of {ROUNDS} rounds each; a start's ratio is the median of its rounds'. `base again` is a "
        "second process of the base model: its ratio is what the machine's noise can do."
    )
    about = f"{title.rstrip('.')}\n\n{account}"
    write_measured(target, measured, about, table(measured), remark, "tests.benchmarks.serving")
    print(table(measured))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(sys.argv[2], Path(sys.argv[3]))
    else:
        main(Path(*sys.argv[1:] or ["leaderboards/speed/serving.json"]))
