"""Find data sources by entry point. The built-in ones are found the same way as those of other packages."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from harness.data.sources.source import Source
from harness.errors import HarnessError
from harness.extensions import SOURCES, extensions, load_extension


def source_names() -> list[str]:
    """Names of all installed sources, sorted."""
    return list(extensions(SOURCES))


def source_class(name: str) -> type[Source]:
    """The class of a source.

    Raises:
        HarnessError: no such source, two distributions offer one name, or the entry point is not a source.
        UnavailableError: its package cannot be imported.
    """
    entries = extensions(SOURCES)
    if name not in entries:
        raise HarnessError.unknown("source", name, entries)
    cls = load_extension(entries[name])
    if not (isinstance(cls, type) and issubclass(cls, Source)):
        raise HarnessError(
            f"Source {name!r}: its entry point is {cls!r:.80}, not a subclass of harness.data.sources.Source.",
            "Report it to its authors.",
        )
    return cls


def make_source(options: Mapping[str, Any]) -> Source:
    """Create a source from its options, of which `source` is its name.

    Raises:
        HarnessError: no such source, an unknown or missing option, or an option with an invalid value.
    """
    name = str(options.get("source"))
    cls = source_class(name)
    try:
        return cls.model_validate(dict(options))
    except ValidationError as error:
        # A misspelt option also counts as a missing one; report the misspelling.
        first = min(error.errors(), key=lambda details: details["type"] != "extra_forbidden")
        option = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise HarnessError.unknown(f"option of source {name}", option, cls.model_fields) from error
        raise HarnessError(f"Source {name}: {option}: {first['msg']}.", "Fix that option.") from error
