from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from harness.data.prepare import prepare
from harness.data.records import RawDomain
from harness.data.sources import make_source
from harness.data.sources.movielens import GENRE_GROUPS
from harness.errors import HarnessError
from harness.suites import load_suite


def raw(part: str) -> RawDomain:
    return make_source({"source": "movielens-100k-genre", "part": part}).open(part, Path())


def items(domain: RawDomain) -> pd.DataFrame:
    return pd.concat(chunk.to_pandas() for chunk in domain.items(frozenset()))


def test_each_film_is_in_at_most_one_domain() -> None:
    domains = [raw(name) for name in GENRE_GROUPS]
    films = Counter(film for domain in domains for film in items(domain)["item_id"])
    assert max(films.values()) == 1
    # The others are documentaries and films of unknown genre.
    assert (len(films), sum(len(chunk) for domain in domains for chunk in domain.interactions)) == (1635, 99343)


def test_domains_of_the_suite_have_the_pinned_fingerprint() -> None:
    for spec in load_suite("cdsr").domains:
        domain = prepare(spec.source.open(spec.name, Path()), spec.k_core, spec.ties)
        assert domain.fingerprint == spec.fingerprint
        assert 500 <= len(domain.user_ids) <= 900


def test_texts_are_title_year_and_genres() -> None:
    assert "Toy Story 1995 Animation Children's Comedy" in set(items(raw("comedy"))["text"])


def test_an_unknown_part_or_source_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'comedy'"):
        raw("comedi")
    with pytest.raises(HarnessError, match="Did you mean 'movielens-100k-genre'"):
        make_source({"source": "movielens-100k-genres"})
