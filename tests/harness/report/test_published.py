"""Published figures: the registry, and what boards show of it."""

import json
import sys
from pathlib import Path

import pytest

from harness.cli import app as cli
from harness.errors import HarnessError
from harness.report.collect import Board, collect
from harness.report.leaderboard import leaderboard
from harness.suites.published import Data, Figure, Protocol, Source, published_sources, read_source
from tests.harness.report.boards import made_board
from tests.harness.report.test_leaderboard import cells, section, unwrapped

HEADING = "Published: drama, full, all users"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return made_board(tmp_path)


def source(**protocol: object) -> Source:
    """A source with a figure of `base` and one of a method that the board lacks."""
    tags = {
        "k_core": 5,
        "split": "leave-one-out",
        "candidates": "full",
        "history": "removed",
        "ties": "hashed",
        "known_from": "the test",
    }
    return Source(
        key="paper",
        citation="Somebody, A paper",
        url="https://example.org/paper",
        data={"films": Data(name="Films", users=60, items=50)},
        protocol=Protocol(**(tags | protocol)),
        figures=(
            Figure(method="Base", loss="cross-entropy", row="base", values={"films": {"hr@10": 0.5, "ndcg@10": 0.2}}),
            Figure(method="Other", loss="a loss", values={"films": {"ndcg@10": 0.9, "hr@10": 0.95}}),
        ),
    )


def page(board: Board, monkeypatch: pytest.MonkeyPatch, *sources: Source) -> str:
    """The board with some sources as the registry."""
    monkeypatch.setattr("harness.report.published.published_sources", lambda: sources)
    return leaderboard(board)


def test_figures_of_the_same_protocol_stand_beside_rows(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(board, monkeypatch, source())
    rows = cells(text, HEADING)
    assert list(rows) == ["Other", "base", "Base"]  # the best first
    (entry,) = [e for e in board.scenarios["drama-from-action"] if e.method == "base"]
    here = entry.mean("full", "ndcg@10")
    assert rows["base"]["NDCG@10"] == f"{here:.4f}"
    assert rows["base"]["HR@10"] == f"{entry.mean('full', 'hr@10'):.4f}"
    assert rows["base"]["by"] == "drama-from-action"
    assert (rows["Base"]["NDCG@10"], rows["Base"]["row here"]) == ("0.2000", "base")
    assert rows["Base"]["here is"] == f"{here / 0.2 - 1:+.0%}"
    assert (rows["Other"]["row here"], rows["Other"]["here is"]) == ("–", "–")
    assert "- [1](https://example.org/paper): Somebody, A paper" in text
    assert "Not shown" not in text


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ({"history": "unknown"}, "an unknown history"),
        ({"history": "kept"}, "candidates `full-history-kept`"),
        ({"k_core": 10}, "the k-core"),
        ({"split": "temporal"}, "the split"),
        ({"ties": "file"}, "the order of ties"),
        ({"candidates": "sampled-100"}, "candidates `sampled-100`"),
        ({"ties": "file", "k_core": 3}, "the k-core, the order of ties"),
    ],
)
def test_figures_of_another_protocol_are_counted_only(
    board: Board, monkeypatch: pytest.MonkeyPatch, protocol: dict[str, object], reason: str
) -> None:
    text = page(board, monkeypatch, source(**protocol))
    published = unwrapped(section(text, "Beside published figures"))
    assert "|" not in published
    assert f"not known: 2 more methods and targets (2 for {reason})." in published
    both = page(board, monkeypatch, source(), source(**protocol))
    assert list(cells(both, HEADING)) == ["Other", "base", "Base"]
    assert f"(2 for {reason})" in unwrapped(both)


def test_figures_of_all_users_do_not_stand_beside_drawn_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(made_board(tmp_path, changes={"test_users": 60}), monkeypatch, source())
    assert "(2 for a draw of users)" in unwrapped(text)
    assert "Test users: 60 drawn at random (0 take no part)" in unwrapped(text)


def test_figures_on_other_data_give_no_section(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    other = source().model_copy(update={"data": {"films": Data(name="Films", users=61, items=50)}})
    assert "Beside published" not in page(board, monkeypatch, other)


def test_the_registry_is_valid_and_names_rows_that_exist() -> None:
    sources = published_sources()
    assert len(sources) >= 9
    methods = {entry.method for entry in collect(Path("leaderboards/results"), "cdsr-amazon", 1).entries}
    for each in sources:
        for figure in each.figures:
            assert figure.row is None or figure.row in methods
            for values in figure.values.values():
                assert {"hr@10", "ndcg@10"} <= values.keys()
                assert all(values[f"ndcg@{k}"] < values[f"hr@{k}"] for k in (5, 10) if f"hr@{k}" in values)
    assert {each.protocol.history for each in sources} == {"removed", "kept", "unknown"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("history: removed", "history: gone", "protocol.history: "),
        ("hr@10: 0.0921", "hr: 0.0921", "hr.[key]"),
        ("hr@10: 0.0921", "hr@10: 9.21", "less than or equal to 1"),
        ("url: https", "url: ftp", "url: "),
        ("  ties: file", "", "protocol.ties: Field required"),
        ("values: {beauty", "values: {books", "figures on 'books', which is not in `data`"),
        ("citation:", "cites:", "citation: Field required"),
        ("protocol:", "protocol: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = Path("harness/suites/published/esasrec.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(HarnessError) as error:
        read_source(path)
    assert "wrong.yaml" in str(error.value)
    assert message in str(error.value)


def test_ls_lists_published_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for options in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["harness", "ls", "--published", *options])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        outputs.append(capsys.readouterr().out)
    for each in published_sources():
        assert each.url in outputs[0]
    assert [each["key"] for each in json.loads(outputs[1])] == [each.key for each in published_sources()]


def test_the_example_of_the_docs_is_valid(tmp_path: Path) -> None:
    text = Path("docs/leaderboards.md").read_text(encoding="utf-8")
    path = tmp_path / "example.yaml"
    path.write_text(text.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert read_source(path).protocol.candidate_set == "full"
