"""JSON Schemas of the files that the harness reads and writes, generated from their pydantic models.

To add a file, add a line to `FILE_KINDS`; every field of its model needs a description.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pydantic import BaseModel

from harness.errors import HarnessError
from harness.storage.files import write_atomically


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: of the kind.
        version: of its form; raise it when files of the old form are no longer valid.
        model: its pydantic model, as `module:class`.
        title: what such a file holds.
    """

    name: str
    version: int
    model: str
    title: str

    @property
    def file_name(self) -> str:
        """Name of its schema's file, which holds the version, so that schemas of older versions can stay."""
        return f"{self.name}-v{self.version}.schema.json"


FILE_KINDS = (
    FileKind("result", 4, "harness.results.record:RunResult", "Result of one run"),
    FileKind("failure", 1, "harness.results.failure:FailureRecord", "Reason why a run has no result"),
    FileKind("suite", 1, "harness.suites.file:SuiteFile", "Suite file (YAML)"),
    FileKind("tuning", 1, "harness.tuning.record:Tuning", "Tuned settings of a method (YAML)"),
    FileKind("submission", 1, "harness.results.submission:Submission", "Manifest of a submission"),
    FileKind("card", 1, "harness.results.submission:Card", "Card of a submission (YAML)"),
    FileKind("reproduction", 1, "harness.results.reproduction:Reproduction", "Record of a run that was made again"),
)


def file_kind(name: str) -> FileKind:
    """A kind of file by name.

    Raises:
        HarnessError: there is none of that name.
    """
    kinds = {kind.name: kind for kind in FILE_KINDS}
    if name not in kinds:
        raise HarnessError.unknown("schema", name, kinds)
    return kinds[name]


def json_schema(kind: FileKind) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of file, with a description of every field."""
    model: type[BaseModel] = resolve_name(kind.model)
    schema = model.model_json_schema(mode="validation")
    definitions = schema.get("$defs", {})
    for definition in (*definitions.values(), schema):
        _describe(definition, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:cdsr-harness:{kind.name}:{kind.version}",
        **schema,
        "title": f"{kind.title}, version {kind.version}",
    }


def _describe(definition: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    """Moves what a docstring says of `Attributes` to the properties, and puts descriptions on one line."""
    text, _, attributes = definition.get("description", "").partition("Attributes:\n")
    described = _attributes(attributes)
    if text:
        definition["description"] = _one_line(text)
    for name, field in definition.get("properties", {}).items():
        field.pop("title", None)
        # pydantic leaves out a description that is that of the type.
        of_type = definitions.get(field.get("$ref", "").rpartition("/")[2], {}).get("description", "")
        if description := field.get("description", described.get(name, of_type.partition("Attributes:")[0])):
            field["description"] = _one_line(description)


def _attributes(text: str) -> dict[str, str]:
    """Descriptions by name of the `Attributes` section of a docstring in Google's style."""
    entries = re.findall(r"^ *([a-z_0-9]+(?:, [a-z_0-9]+)*): (.+(?:\n(?! *[a-z_0-9, ]+: ).+)*)", text, re.MULTILINE)
    return {name: description for names, description in entries for name in names.split(", ")}


def _one_line(text: str) -> str:
    """A description as one line that starts with a capital letter, with JSON's name for None."""
    line = re.sub(r"\bNone\b", "null", " ".join(text.split()))
    return line[:1].upper() + line[1:]


def schema_text(kind: FileKind) -> str:
    """The content of a schema's file."""
    return json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas of all kinds of files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / kind.file_name for kind in FILE_KINDS]
    for kind, path in zip(FILE_KINDS, paths, strict=True):
        write_atomically(path, schema_text(kind))
    return paths


def field_tables(kind: FileKind) -> str:
    """Markdown: a table of the fields of each model of a kind of file, that of the file itself first."""
    schema = json_schema(kind)
    definitions = {kind.model.partition(":")[2]: schema, **schema.get("$defs", {})}
    sections = []
    for name, definition in definitions.items():
        if "properties" in definition:
            meanings = {
                field: each["description"].replace("|", r"\|") for field, each in definition["properties"].items()
            }
            rows = [f"| `{field}` | {meaning} |" for field, meaning in meanings.items()]
            head = [f"## {name}", "", definition["description"], "", "| field | meaning |", "|---|---|"]
            sections.append("\n".join([*head, *rows, ""]))
    return "\n".join(sections)
