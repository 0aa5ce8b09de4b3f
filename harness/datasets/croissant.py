"""Croissant metadata (JSON-LD) of data sets and of exported files, version 1.0 of the format.

Akhtar et al., "Croissant: a metadata format for ML-ready datasets", DEEM 2024; https://docs.mlcommons.org/croissant.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.sources.table import Table
from harness.datasets.load import Dataset
from harness.errors import HarnessError
from harness.storage.files import file_digest

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

#: Media types by suffix, of gzipped files too.
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".inter": "text/tab-separated-values",
    ".item": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".tsv": "text/tab-separated-values",
    ".zip": "application/zip",
}

#: Type and description of each column that the harness reads or writes.
_FIELDS = {
    "user_id": ("sc:Text", "Id of the user."),
    "item_id": ("sc:Text", "Id of the item."),
    "position": ("sc:Integer", "Place of the event in the user's sequence, from 0."),
    "timestamp": ("sc:Float", "Time of the event."),
    "text": ("sc:Text", "Text of the item."),
}


def metadata(
    name: str,
    description: str,
    files: Sequence[Mapping[str, Any]],
    record_sets: Sequence[Mapping[str, Any]],
    licences: Sequence[str] = (),
    pages: Sequence[str] = (),
    citations: Sequence[str] = (),
    version: str | None = None,
) -> dict[str, Any]:
    """Croissant metadata of some files.

    Args:
        name: of the data set.
        description: of it.
        files: from `file_object`.
        record_sets: from `record_set`.
        licences: terms of use.
        pages: of the publishers.
        citations: publications that describe the data.
        version: as in `1.0.0`.
    """
    optional = {
        "license": licences,
        "url": pages[:1],
        "sameAs": pages[1:],
        "citeAs": [" ".join(citations)] if citations else [],
        "version": [version] if version else [],
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **{key: values[0] if len(values) == 1 else list(values) for key, values in optional.items() if values},
        "distribution": list(files),
        "recordSet": list(record_sets),
    }


def file_object(url: str, sha256: str, name: str | None = None) -> dict[str, Any]:
    """A file.

    Args:
        url: where it is: a URL, or a path relative to the metadata's file.
        sha256: of its content (hex).
        name: its name; the url by default.
    """
    suffix = Path(url.removesuffix(".gz")).suffix
    return {
        "@type": "cr:FileObject",
        "@id": name or url,
        "name": name or url,
        "contentUrl": url,
        "encodingFormat": _MEDIA_TYPES.get(suffix, "text/plain"),
        "sha256": sha256,
    }


def record_set(name: str, file: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """The rows of a file.

    Args:
        name: of the record set.
        file: id of the file.
        columns: names of the file's columns, by the names that the harness has for them; others are texts.
    """
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field}",
                "name": field,
                "description": _FIELDS.get(field, ("", "Text of the item."))[1],
                "dataType": _FIELDS.get(field, ("sc:Text", ""))[0],
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
            for field, column in columns.items()
        ],
    }


def dataset_metadata(dataset: Dataset, data_dir: Path) -> dict[str, Any]:
    """Croissant metadata of a named data set: its files and, of a table, their columns.

    Paths of files that no one publishes are relative to the data folder; those inside a package are named only.

    Args:
        dataset: the data set.
        data_dir: the data folder, whose files are hashed where their SHA-256 is not known beforehand.

    Raises:
        HarnessError: such a file is not there.
    """
    if dataset.files:
        files = [
            file_object(file.url, file.sha256 or _digest(data_dir / dataset.folder / file.name, dataset), file.name)
            for file in dataset.files
        ]
    else:
        paths = dataset.source.files(data_dir)
        files = [file_object(_relative(path, data_dir), _digest(path, dataset)) for path in paths]
    sets = _table_record_sets(dataset.source) if isinstance(dataset.source, Table) else []
    citations = [dataset.citation] if dataset.citation else []
    return metadata(dataset.name, f"{dataset.title}.", files, sets, [dataset.licence], [dataset.page], citations)


def _digest(path: Path, dataset: Dataset) -> str:
    if not path.is_file():
        how = f"Run: harness data fetch {dataset.name}" if dataset.files else f"Get it from {dataset.page}"
        raise HarnessError(f"There is no file {path}, whose SHA-256 belongs into the metadata.", f"{how}.")
    return file_digest(path)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _table_record_sets(source: Table) -> list[dict[str, Any]]:
    """The interactions and items of a table that consists of one file each."""
    columns, item_columns = source.columns, source.item_columns
    interactions = {"user_id": columns.user, "item_id": columns.item}
    if source.timed:
        interactions["timestamp"] = columns.timestamp
    items = {"item_id": item_columns.item, **{column: column for column in item_columns.text}}
    files = {"interactions": (source.interactions, interactions), "items": (source.items, items)}
    return [
        record_set(name, file.as_posix(), columns) for name, (file, columns) in files.items() if isinstance(file, Path)
    ]
