from collections import Counter

import pytest

from harness.data import sources
from harness.data.prepare import prepare
from harness.data.sources.movielens import GENRE_GROUPS
from harness.errors import HarnessError
from harness.suites import load_suite


def test_every_film_is_in_at_most_one_domain() -> None:
    raw = [sources.read("movielens-100k-genre", name, name) for name in GENRE_GROUPS]
    films = Counter(film for domain in raw for film in domain.items["item_id"])
    assert max(films.values()) == 1
    # The rest are documentaries and films of unknown genre, as the docs say.
    assert (len(films), sum(len(domain.interactions) for domain in raw)) == (1635, 99343)


def test_the_suite_s_domains_have_the_pinned_content_and_size() -> None:
    for spec in load_suite("cdsr").domains:
        domain = prepare(sources.read(spec.source, spec.name, spec.part), spec.k_core)
        assert domain.fingerprint == spec.fingerprint
        assert 500 <= len(domain.user_ids) <= 900


def test_texts_hold_title_year_and_genres() -> None:
    raw = sources.read("movielens-100k-genre", "comedy", "comedy")
    assert "Toy Story 1995 Animation Children's Comedy" in set(raw.items["text"])


def test_an_unknown_part_or_source_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'comedy'"):
        sources.read("movielens-100k-genre", "comedy", "comedi")
    with pytest.raises(HarnessError, match="Did you mean 'movielens-100k-genre'"):
        sources.read("movielens-100k", "comedy", "comedy")
