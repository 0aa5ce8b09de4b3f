"""RecBole's own trainer against ours: time per epoch, and to the same validation NDCG@10, in one run.

Both train the same model from the same weights: cross-entropy, histories of 50, RecBole's default settings, Adam at
0.001, 2,048 prefixes a step. RecBole's side is its `Trainer` with its `TrainDataLoader` over its samples of every
prefix. Ours trains every prefix in one pass, as the methods of the suites do: windows with a stride of 25 where a
sequence is longer than 50, and products with the catalogue in the precision that the column says. Validation is the
same function on both sides, and is not part of the times. Nothing else should run beside it. On two cores it takes
half an hour:

    python -m tests.benchmarks.recbole_trainer leaderboards/speed/recbole-trainer.json

writes that file and, beside it, the table `recbole-trainer.md`.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from baselines.recbole_models.building import Built, RecBoleSettings, build
from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.dataset import contained, seeded
from baselines.recbole_models.scoring import RecBoleScorer
from baselines.recbole_models.softmax import product_type
from baselines.recbole_models.training import train_epoch
from baselines.recbole_models.training_paths import TrainingPath
from harness.data.prepare import prepare
from harness.data.sources.movielens import MovieLens100KGenre
from harness.data.sources.recbole_atomic import RecBoleAtomic
from harness.data.sources.table import ItemColumns
from harness.datasets import load_dataset
from harness.evaluation.rank_scorer import validation_ndcg
from harness.protocol.split import LeaveOneOut
from harness.run.provenance import hardware
from tests.benchmarks.writing import write_measured

MODELS = ("SASRec", "GRU4Rec")
#: Epochs of RecBole's trainer; ours is trained until it is as good, for at most `MAX_EPOCHS`.
EPOCHS = 2
MAX_EPOCHS = 30


def corpora() -> dict[str, Corpus]:
    """Training data of Amazon Beauty and of all of MovieLens 100K under leave-one-out."""
    data = Path(os.environ["CDSR_DATA"])
    beauty = prepare(load_dataset("amazon2014-beauty").source.open("beauty", data), 1)
    recbole_folder = MovieLens100KGenre(part="drama").files(data)[0].parent
    films = RecBoleAtomic(folder=recbole_folder, item_columns=ItemColumns(text=("movie_title",)))
    movies = prepare(films.open("ml-100k", data), 5)
    return {d.name: Corpus.of(LeaveOneOut().training(d)) for d in (beauty, movies)}


def train(corpus: Corpus, settings: RecBoleSettings, ours: bool, until: float | None) -> dict[str, Any]:
    """Train for `EPOCHS`, or until validation NDCG@10 is at least `until`; returns seconds and validation by epoch."""
    with seeded(0):
        built = build(settings, corpus, prefixes=not ours)
        epoch = _our_epoch(built, corpus, settings) if ours else _their_epoch(built)
        path = TrainingPath.ONE_PASS if ours else TrainingPath.WHOLE
        scorer = RecBoleScorer(built, corpus.parts[0], settings.max_length, path)
        seconds: list[float] = []
        validation: list[float] = []
        for number in range(EPOCHS if until is None else MAX_EPOCHS):
            built.model.train()
            started = time.perf_counter()
            epoch(number)
            seconds.append(time.perf_counter() - started)
            validation.append(validation_ndcg(scorer, corpus.parts[0].domain))
            if until is not None and validation[-1] >= until:
                break
    return {"seconds": seconds, "validation": validation}


def _our_epoch(built: Built, corpus: Corpus, settings: RecBoleSettings) -> Callable[[int], None]:
    optimiser = torch.optim.Adam(built.model.parameters(), lr=settings.learning_rate)
    rng = np.random.default_rng(0)
    products = getattr(torch, settings.precision)

    def epoch(_: int) -> None:
        train_epoch(built, corpus, TrainingPath.ONE_PASS, settings, optimiser, rng, products)

    return epoch


def _their_epoch(built: Built) -> Callable[[int], None]:
    # RecBole's trainer creates folders in the working directory when it is constructed.
    with contained(), TemporaryDirectory() as folder, chdir(folder):
        from recbole.data.dataloader.general_dataloader import TrainDataLoader
        from recbole.trainer import Trainer

        config = built.dataset.config
        loader = TrainDataLoader(config, built.dataset, None, shuffle=True)
        trainer = Trainer(config, built.model)

    def epoch(number: int) -> None:
        with contained():
            trainer._train_epoch(loader, number, show_progress=False)

    return epoch


def measure() -> dict[str, Any]:
    """Measure both trainers on every data set and model."""
    rows = []
    for name, corpus in corpora().items():
        for model in MODELS:
            # RecBole's defaults: constant rate 0.001, batches of 2,048 prefixes.
            settings = RecBoleSettings(model, "CE", batch=2048, learning_rate=1e-3, schedule="constant")
            theirs = train(corpus, settings, ours=False, until=None)
            # bfloat16 only if the hardware supports it, as in the suites.
            for precision in sorted(
                {str(product_type(p, "cpu")).removeprefix("torch.") for p in ("bfloat16", "float32")}
            ):
                settings_of_ours = replace(settings, precision=precision)
                ours = train(corpus, settings_of_ours, ours=True, until=max(theirs["validation"]))
                rows.append({"data": name, "model": model, "products": precision, "recbole": theirs, "ours": ours})
                print(table({"rows": rows[-1:]}), flush=True)
    packages = {name: version(name) for name in ("torch", "recbole")}
    return {"rows": rows, "threads": torch.get_num_threads(), "hardware": hardware("cpu"), "packages": packages}


def table(measured: dict[str, Any]) -> str:
    """The table of a measurement."""
    body = []
    for row in measured["rows"]:
        theirs, ours = row["recbole"], row["ours"]
        reached = max(theirs["validation"])
        theirs_s = sum(theirs["seconds"][: theirs["validation"].index(reached) + 1])
        per_epoch = np.mean(theirs["seconds"]), np.mean(ours["seconds"])
        ours_s = sum(ours["seconds"])
        body.append(
            [
                row["data"],
                row["model"],
                row["products"],
                *(f"{seconds:.1f} s" for seconds in per_epoch),
                f"{per_epoch[0] / per_epoch[1]:.1f} ×",
                f"{reached:.4f}",
                f"{theirs_s:.0f} s",
                f"{ours_s:.0f} s ({len(ours['seconds'])} epochs)"
                if ours["validation"][-1] >= reached
                else f"not in {len(ours['seconds'])} epochs",
                f"{theirs_s / ours_s:.1f} ×",
            ]
        )
    headings = [
        "data",
        "model",
        "our products",
        "RecBole's epoch",
        "ours",
        "ratio",
        f"validation NDCG@10 of {EPOCHS} RecBole epochs",
        "RecBole's time to it",
        "ours",
        "ratio",
    ]
    return tabulate(body, headings, tablefmt="pipe", disable_numparse=True)


def main(target: Path) -> None:
    """Run the benchmark; write results as JSON and a table as markdown."""
    measured = measure()
    account = (__doc__ or "").partition("\n\n")[2].partition("Nothing else")[0].strip()
    about = f"Training: every prefix in one pass against RecBole's own trainer\n\n{account}"
    remark = f"Threads: {measured['threads']}."
    write_measured(target, measured, about, table(measured), remark, "tests.benchmarks.recbole_trainer")


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["leaderboards/speed/recbole-trainer.json"]))
