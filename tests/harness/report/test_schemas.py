"""JSON Schemas of the harness's files: what the models give, and what committed files hold."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import HarnessError
from harness.report.schemas import FILE_KINDS, FileKind, _describe, file_kind, json_schema, schema_text
from harness.results.record import RunResult

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "docs" / "schemas"
RESULTS = [path for path in sorted(ROOT.glob("leaderboards/**/results/**/*.json")) if ".failed." not in path.name]
FILES = {
    "result": RESULTS,
    "failure": sorted(ROOT.glob("leaderboards/**/results/**/*.failed.json")),
    "suite": [*ROOT.glob("harness/suites/*/v*.yaml"), *ROOT.glob("leaderboards/experiments/*.yaml")],
    "tuning": sorted(ROOT.glob("harness/suites/*/*.tuned/*/*.yaml")),
    "reproduction": sorted(ROOT.glob("leaderboards/reproduced/**/*.json")),
}


def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json_schema(file_kind(kind)))


@pytest.mark.parametrize("kind", FILE_KINDS, ids=lambda kind: kind.name)
def test_committed_schemas_are_those_of_the_models(kind: FileKind) -> None:
    text = (COMMITTED / kind.file_name).read_text(encoding="utf-8")
    assert text == schema_text(kind), "write them anew: harness schema --output-dir docs/schemas"
    Draft202012Validator.check_schema(json.loads(text))
    assert (json.loads(text)["$id"], kind.version) == (f"urn:cdsr-harness:{kind.name}:{kind.version}", kind.version)


@pytest.mark.parametrize("kind", FILE_KINDS, ids=lambda kind: kind.name)
def test_every_field_has_a_description(kind: FileKind) -> None:
    schema = json_schema(kind)
    for definition in (schema, *schema.get("$defs", {}).values()):
        assert definition["description"]
        assert [name for name, field in definition["properties"].items() if not field.get("description")] == []


@pytest.mark.parametrize("kind", FILES)
def test_committed_files_are_valid(kind: str) -> None:
    check, files = validator(kind), FILES[kind]
    assert files or kind == "failure"
    for path in files:
        text = path.read_text(encoding="utf-8")
        error = next(check.iter_errors(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)), None)
        assert error is None, f"{path}: {error and error.json_path}: {error and error.message}"


def changed(content: Any) -> Iterator[Any]:
    """Copies of some content, each with one field removed or one more."""
    for key in list(content):
        less = copy.deepcopy(content)
        del less[key]
        yield less
    yield {**content, "extra": 1}


def test_the_schema_of_results_refuses_what_the_model_refuses() -> None:
    check = validator("result")
    result = json.loads(RESULTS[0].read_text(encoding="utf-8"))
    refused = 0
    for part in (None, "scenario", "code", "provenance", "cost"):
        for value in changed(result if part is None else result[part]):
            content = value if part is None else {**result, part: value}
            try:
                RunResult.model_validate_json(json.dumps(content))
            except ValidationError:
                refused += 1
                assert not check.is_valid(content)
            else:
                assert check.is_valid(content)
    assert refused > 20


def test_methods_of_a_suite_may_be_names() -> None:
    check = validator("suite")
    suite = yaml.safe_load((ROOT / "harness/suites/cdsr/v2.yaml").read_text(encoding="utf-8"))
    assert check.is_valid({**suite, "methods": ["markov", {"name": "m", "method": "markov", "settings": {}}]})
    assert not check.is_valid({**suite, "methods": [3]})
    assert not check.is_valid({**suite, "methods": []})


def test_attributes_in_a_docstring_describe_the_fields() -> None:
    class Model(BaseModel):
        """A thing.

        Attributes:
            first, second: how many; None
                if unknown.
            other: see `first`.
        """

        first: int | None
        second: int | None
        other: str

    schema = Model.model_json_schema()
    _describe(schema, {})
    assert schema["description"] == "A thing."
    described = {name: field["description"] for name, field in schema["properties"].items()}
    both = "How many; null if unknown."
    assert described == {"first": both, "second": both, "other": "See `first`."}


def test_the_command_prints_a_schema_or_writes_all(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema", "suite"])
    assert json.loads(printed.stdout)["$id"] == "urn:cdsr-harness:suite:1"
    assert "tuning" in CliRunner().invoke(app, ["schema"]).stdout
    written = CliRunner().invoke(app, ["schema", "--output-dir", str(tmp_path / "new")])
    assert {Path(line).name for line in written.stdout.splitlines()} <= {path.name for path in COMMITTED.iterdir()}
    with pytest.raises(HarnessError, match=r"Unknown schema 'results'\. Did you mean 'result'"):
        CliRunner().invoke(app, ["schema", "results"], catch_exceptions=False)
