"""The section on the order of tied events, if results have an audit of it."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

from harness.data.ties import HASHED, TieOrder, tie_audit
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.report.ties import order_of_ties, tie_table
from harness.results.files import read_result
from tests.harness.data.test_ties import domain_at
from tests.harness.report.test_leaderboard import run_all

IDS = [str(item) for item in range(5)]
SORTED = domain_at([[(item, 0) for item in range(5)]] * 100, IDS)


def board(*audits: dict) -> SimpleNamespace:
    """Return a board with a result for each mapping of domain names to audits."""
    results = [{name: SimpleNamespace(ties=audit) for name, audit in by_domain.items()} for by_domain in audits]
    return SimpleNamespace(results=[SimpleNamespace(data=data) for data in results])


def column(table: str) -> list[str]:
    """The cells of a table's only domain."""
    return [line.split("|")[2].strip() for line in table.splitlines() if not line.startswith("|:")]


def test_an_order_far_from_chance_gives_a_warning() -> None:
    lines = order_of_ties(board({"shop": tie_audit(SORTED, TieOrder("file"))}))
    assert lines[1] == "## Order of ties"
    assert column(lines[3])[:6] == ["shop", "file", "100.0%", "100.0%", "100.0%", "100.0%"]
    assert lines[-1].startswith("- **shop: within ties, item ids rise in 100.0% of 400 neighbours")


def test_hashed_ties_of_a_sorted_file_show_the_file_s_order() -> None:
    audit = replace(tie_audit(SORTED, HASHED), within=tie_audit(domain_at([[(0, 0)]], IDS)).within)
    audit = replace(audit, file_within=tie_audit(SORTED, TieOrder("file")).within)
    assert "within ties of the file, item ids rise in 100.0%" in order_of_ties(board({"shop": audit}))[-1]


def test_without_timestamps_test_item_ids_are_compared_with_chance() -> None:
    untimed = domain_at([[(item, item) for item in range(5)]] * 100, IDS, timed=False)
    table = tie_table({"shop": tie_audit(untimed)})
    assert "no timestamps" in table
    assert "events tied" not in table
    assert column(table)[-3:] == ["100.0%", "0.0%", "20.0%"]


def test_results_without_audits_give_no_section() -> None:
    assert order_of_ties(board({"shop": None}, {"shop": None})) == []
    assert order_of_ties(board({"shop": None}, {"shop": tie_audit(SORTED)})) != []


def test_results_with_and_without_an_audit_can_be_read(toy) -> None:
    results = run_all(toy, ("popularity",), (0,))
    text = leaderboard(collect(results, "toy", 1)).partition("## Order of ties")[2].partition("\n## ")[0]
    assert re.search(r"\| share +\| +left \| +right \|", text)
    assert len(re.findall("hashed, seed 0", text)) == 2
    for path in results.glob("toy/v1/*/*.json"):
        content = json.loads(path.read_bytes())
        assert all(record.pop("ties")["order"] == "hashed, seed 0" for record in content["data"].values())
        path.write_text(json.dumps(content))
        # A result without audit is written without the field.
        assert json.loads(read_result(path)[0].model_dump_json()) == content
    assert "Order of ties" not in leaderboard(collect(results, "toy", 1))
