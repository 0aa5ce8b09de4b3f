"""Recommending with an exported model."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from baselines.language_models import target_only
from harness.cli.app import app
from harness.data.domain import Catalogue
from harness.errors import HarnessError
from harness.evaluation.rank_scorer import rank_full
from harness.methods.recommender import RECIPE, load_scorer
from harness.protocol.recommendations import top_items
from harness.results.files import read_result
from harness.run.inspect import export
from harness.run.recommend import best_items, find_item, read_catalogue, recommend
from harness.run.scenario_data import open_test, open_training
from tests.conftest import Toy
from tests.weaverec.decoders import decoder
from weaverec.ranker.method import by_name

SHORT = {"steps": 2, "batch": 40}
RANKER = {"steps": 2, "batch": 8, "validation_users": 2, "prompt.candidates": 12, "weights": "float32"}


@pytest.fixture(params=["an encoder", "a decoder", "a ranker"])
def model(request, toy, tmp_path: Path):
    """A run of a short training on 50 users, and the exported model; the toy suite, scenario and the two paths."""
    settings = {} if request.param == "an encoder" else {"backbone": str(decoder("llama", tmp_path / "base").folder)}
    if request.param == "a ranker":
        toy.add("short", lambda: by_name("weaverec").tuned({**RANKER, **settings}))
    else:
        toy.add("short", lambda: target_only().tuned({**SHORT, **settings}))
    domains = tuple(toy.replace(spec, source=Toy(seed=spec.source.seed, n_users=50)) for spec in toy.suite.domains)
    toy.suite = toy.replace(toy.suite, domains=domains, scenarios=toy.suite.scenarios[:1])
    toy.run("short", seeds=(3,))
    (result,) = toy.out.rglob("*seed3*.json")
    workspace, scenario = toy.workspace(), toy.suite.scenarios[0]
    folder = tmp_path / "exported"
    export(workspace, scenario, "short", 3, folder, lambda *_: None)
    return workspace, scenario, folder, result


def write_catalogue(catalogue: Catalogue, path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "text"])
        writer.writerows(zip(catalogue.item_ids, catalogue.texts, strict=True))
    return path


def test_an_exported_model_gives_the_ranks_and_lists_of_the_result(model, tmp_path: Path) -> None:
    workspace, scenario, folder, result_path = model
    table = read_result(result_path)[1]
    test, target = open_test(workspace, scenario), open_training(workspace, scenario).target_domain
    path = write_catalogue(target.catalogue, tmp_path / "items.csv")
    assert len(test.targets) == 50
    scorer = load_scorer(folder, read_catalogue(path))
    ranks = rank_full(scorer, test, len(target.catalogue))
    np.testing.assert_array_equal(ranks.above, table.ranks["full"].above)
    np.testing.assert_array_equal(ranks.tied, table.ranks["full"].tied)
    # What is recommended to one user are the best of these scores.
    history = test.histories.block(0, 1)
    expected = top_items(scorer.score(history, None), 5, history.sequences)[0]
    if test.histories.users[0] == 0:  # on which the order of a prompt's candidates depends
        items, scores = best_items(scorer, target.catalogue, history.sequences[0].tolist(), 5)
        np.testing.assert_array_equal(items, expected)
        assert scores == sorted(scores, reverse=True)


def test_recommendations_have_titles_and_leave_out_the_history(model, tmp_path: Path) -> None:
    workspace, scenario, folder, _ = model
    catalogue = open_training(workspace, scenario).target_domain.catalogue
    path = write_catalogue(catalogue, tmp_path / "items.csv")
    history = ["left film number 3", catalogue.item_ids[5]]
    items = recommend(folder, path, history, 4)
    assert [item.rank for item in items] == [1, 2, 3, 4]
    assert all(catalogue.texts[catalogue.item_ids.index(item.item_id)] == item.title for item in items)
    assert not {item.title for item in items} & {"left film number 3", catalogue.texts[5]}
    options = ["recommend", "--model", str(folder), "--catalogue", str(path), "--top", "4"]
    result = CliRunner().invoke(app, [*options, "--history", *history, "--json"])
    assert [item["item_id"] for item in json.loads(result.stdout)] == [item.item_id for item in items]
    lines = CliRunner().invoke(app, [*options, "--history", history[0], "--history", history[1]]).stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == [item.title for item in items]
    everything = recommend(folder, path, history, 100)
    assert len({item.item_id for item in everything}) == len(everything) <= 38


def test_the_card_says_how_the_model_scores(model) -> None:
    card = (model[2] / "README.md").read_text()
    kind = json.loads((model[2] / RECIPE).read_text())["kind"]
    assert card.startswith("---\nbase_model: ")
    assert "harness recommend --model ." in card
    if kind == "retriever":
        assert "at unit length" in card
        assert 'SentenceTransformer(".")' in card
    else:
        assert "Answer with the titles of the 5 candidates" in card
        assert "up to 12 shuffled candidates" in card


FILMS = Catalogue(
    ("1", "2", "3", "4", "5", "x"),
    (
        "Toy Story (1995)",
        "Aladdin (1992)",
        "Aladdin and the King of Thieves (1996)",
        "Heat",
        "Heat",
        "It (a) 1990 Horror",
    ),
)


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("toy story", 0),
        ("Toy Story (1995)", 0),
        ("Aladdin", 1),
        ("Aladdin and", 2),
        ("4", 3),
        ("it (a)", 5),
        ("Toy", 0),
    ],
)
def test_a_name_finds_its_item(name: str, item: int) -> None:
    assert find_item(FILMS, name, Path("items.csv")) == item


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Toy Stroy", "No item of items.csv is called 'Toy Stroy'. Did you mean 'Toy Story (1995)'?"),
        ("Alad", "No item of items.csv is called 'Alad'."),
        ("Heat", "'Heat' is 2 items of items.csv: 'Heat' (4); 'Heat' (5). Give the item's id."),
        ("", "No item of items.csv is called ''. Give a title or an item's id."),
        ("zzzz", "Give a title or an item's id."),
    ],
)
def test_an_unclear_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        find_item(FILMS, name, Path("items.csv"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,name\n1,a\n", "has the columns id, name, not item_id and text"),
        ("item_id,title\n", "has no items"),
        ("item_id,title\n1,a\n2,b\n1,c\n", "has the item '1' 2 times"),
        ("", "has the columns (none)"),
    ],
)
def test_a_wrong_catalogue_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(HarnessError) as caught:
        read_catalogue(tmp_path / "items.csv")
    assert message in str(caught.value)


def test_a_folder_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"recommender\.json is missing.*harness export"):
        load_scorer(tmp_path, FILMS)
    (tmp_path / RECIPE).write_text('{"kind": "oracle"}')
    with pytest.raises(HarnessError, match=r"Unknown kind of model .* Known: ranker, retriever"):
        load_scorer(tmp_path, FILMS)


@pytest.mark.parametrize(
    ("options", "message"),
    [([], "No history is given."), (["--history", "a", "b", "--history", "c"], "The order of the history is unclear.")],
)
def test_a_history_must_be_clear(tmp_path: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["recommend", "--model", "m", "--catalogue", "c", *options])
    assert isinstance(result.exception, HarnessError)
    assert message in str(result.exception)
