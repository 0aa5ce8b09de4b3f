"""Readers of raw data, one module a format, each giving the same two tables."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from harness.data.sources.movielens import MovieLens1M, MovieLens25M, MovieLens100KGenre
from harness.data.sources.recbole_atomic import RecBoleAtomic
from harness.data.sources.reviews import Amazon2014, Amazon2018, Amazon2023, Steam
from harness.data.sources.sequence_json import SequenceJson
from harness.data.sources.source import Source
from harness.data.sources.synthetic import PlantedDomain
from harness.data.sources.table import Table
from harness.errors import HarnessError

#: Every source by its name in suite and data set files.
SOURCES: dict[str, type[Source]] = {
    kind.model_fields["source"].default: kind
    for kind in (
        Amazon2014,
        Amazon2018,
        Amazon2023,
        MovieLens100KGenre,
        MovieLens1M,
        MovieLens25M,
        PlantedDomain,
        RecBoleAtomic,
        SequenceJson,
        Steam,
        Table,
    )
}


def make_source(options: Mapping[str, Any]) -> Source:
    """A source from its options, of which `source` names the kind.

    Raises:
        HarnessError: no such source, an option it does not have or lacks, or one with a value it cannot take.
    """
    name = str(options.get("source"))
    if name not in SOURCES:
        raise HarnessError.unknown("source", name, SOURCES)
    try:
        return SOURCES[name].model_validate(dict(options))
    except ValidationError as error:
        # A misspelt option also makes one lacking: the misspelling is what to mend.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        option = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise HarnessError.unknown(f"option of source {name}", option, SOURCES[name].model_fields) from error
        raise HarnessError(f"Source {name}: {option}: {first['msg']}.", "Fix that option.") from error
