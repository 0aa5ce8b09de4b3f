"""Each source reads files in its publisher's format."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from harness.data.domain import Domain
from harness.data.domain_store import load_domain, prepare_domain
from harness.data.prepare import Preparation, prepare
from harness.data.sources import make_source, source_class, source_names
from harness.errors import HarnessError
from harness.storage.store import Store

#: The events in each test's files, in the order of the lines.
EVENTS = [("Ann", "B001", 1_400_000_000), ("Bob", "B002", 1_400_000_100), ("Ann", "B002", 1_399_999_999)]


def prepared(options: dict, folder: Path) -> tuple[Domain, Preparation]:
    store = Store(folder / "domains")
    preparation = prepare_domain(store, make_source(options), "toy", 1, folder).preparation
    return load_domain(store, preparation.fingerprint, "toy"), preparation


def check(domain: Domain, events: list[tuple[str, str, int]], texts: dict[str, str]) -> None:
    loaded = [
        (domain.user_ids[user], domain.catalogue.item_ids[item], int(time))
        for user, item, time in zip(
            domain.interactions.users, domain.interactions.items, domain.interactions.timestamps // 10**9, strict=True
        )
    ]
    assert loaded == sorted(events, key=lambda event: (event[0], event[2]))
    assert dict(zip(domain.catalogue.item_ids, domain.catalogue.texts, strict=True)) == texts


def gz(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def test_amazon_2014_literals_are_not_evaluated(tmp_path: Path) -> None:
    review = {"reviewText": 'He said "no".\n', "overall": 5.0, "helpful": [0, 0]}
    gz(
        tmp_path / "reviews.json.gz",
        [json.dumps({"reviewerID": u, "asin": i, "unixReviewTime": t} | review) for u, i, t in EVENTS],
    )
    trap = tmp_path / "ran"
    gz(
        tmp_path / "meta.json.gz",
        [
            "{'asin': 'B001', 'title': \"It's a 'kettle'\", 'categories': [['Home', 'Kitchen']], 'price': 9.99}",
            f"{{'asin': 'B002', 'title': open({str(trap)!r}, 'w').write('x')}}",
            "{'asin': 'B002', 'title': 'Lamp',\t'brand': 'Lux'}",
            "{'asin': 'B003', 'title': 'never bought'}",
        ],
    )
    options = {"source": "amazon-2014", "reviews": "reviews.json.gz", "meta": "meta.json.gz"}
    domain, preparation = prepared(options | {"text": ["title", "brand", "categories"]}, tmp_path)
    check(domain, EVENTS, {"B001": "It's a 'kettle' Home Kitchen", "B002": "Lamp Lux"})
    assert not trap.exists()
    assert {reason: count for reason, (count, _) in preparation.dropped.items()} == {"no record on the line": 1}
    assert source_class("amazon-2014").model_fields["users"].default == "amazon"


@pytest.mark.parametrize(
    ("source", "user", "item", "scale"),
    [("amazon-2018", "reviewerID", "asin", 1), ("amazon-2023", "user_id", "parent_asin", 1000)],
)
def test_amazon_2018_and_2023(tmp_path: Path, source: str, user: str, item: str, scale: int) -> None:
    time = "unixReviewTime" if scale == 1 else "timestamp"
    gz(tmp_path / "r.gz", [json.dumps({user: u, item: i, time: t * scale}) for u, i, t in EVENTS])
    gz(
        tmp_path / "m.gz",
        [json.dumps({item: "B001", "title": "Tea &amp; pot"}), json.dumps({item: "B002", "title": "Two\nlines"})],
    )
    domain, _ = prepared({"source": source, "reviews": "r.gz", "meta": "m.gz"}, tmp_path)
    check(domain, EVENTS, {"B001": "Tea &amp; pot", "B002": "Two lines"})


def test_steam_unicode_literals_and_dates(tmp_path: Path) -> None:
    gz(
        tmp_path / "r.gz",
        ["{u'username': u'Ann', u'product_id': u'10', u'date': u'2017-12-17', u'hours': 0.1, u'text': u'\\xe9'}"],
    )
    gz(tmp_path / "m.gz", ["{u'id': u'10', u'app_name': u'Half\\u2013Life', u'genres': [u'Action']}", "{u'id': u'9'}"])
    domain, _ = prepared({"source": "steam", "reviews": "r.gz", "meta": "m.gz"}, tmp_path)
    check(domain, [("Ann", "10", 1_513_468_800)], {"10": "Half–Life"})


def test_movielens_1m_and_25m(tmp_path: Path) -> None:
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::10::5::978300760\n2::11::3::978302109\n")
    (tmp_path / "ml-1m" / "movies.dat").write_bytes(
        "10::Amélie: 2001 (2001)::Comedy|Romance\n11::B::X\n".encode("latin-1")
    )
    domain, _ = prepared({"source": "movielens-1m"}, tmp_path)
    texts = {"10": "Amélie: 2001 (2001) Comedy|Romance", "11": "B X"}
    check(domain, [("1", "10", 978300760), ("2", "11", 978302109)], texts)
    (tmp_path / "ml-25m").mkdir()
    (tmp_path / "ml-25m" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,5.0,978300760\n")
    (tmp_path / "ml-25m" / "movies.csv").write_text('movieId,title,genres\n10,"Bug\'s Life, A (1998)",Comedy\n')
    domain, _ = prepared({"source": "movielens-25m", "text": ["title"]}, tmp_path)
    check(domain, [("1", "10", 978300760)], {"10": "Bug's Life, A (1998)"})


def test_recbole_atomic_files(tmp_path: Path) -> None:
    (tmp_path / "toys").mkdir()
    events = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    events += "".join(f"{u}\t{i}\t5.0\t{t}.0\n" for u, i, t in EVENTS)
    (tmp_path / "toys" / "toys.inter").write_text(events)
    (tmp_path / "toys" / "toys.item").write_text('item_id:token\ttitle:token_seq\nB001\t"A" kettle\nB002\tLamp\n')
    domain, _ = prepared({"source": "recbole-atomic", "folder": "toys"}, tmp_path)
    check(domain, EVENTS, {"B001": '"A" kettle', "B002": "Lamp"})


def write_csv(folder: Path) -> dict:
    frame = pd.DataFrame(EVENTS, columns=["who", "what", "when"])
    frame.to_csv(folder / "e.csv.gz", index=False)
    return {"interactions": "e.csv.gz"}


def write_tsv(folder: Path) -> dict:
    frame = pd.DataFrame(EVENTS, columns=["who", "what", "when"])
    frame.assign(when=pd.to_datetime(frame["when"], unit="s")).to_csv(folder / "e.tsv", index=False, sep="\t")
    return {"interactions": "e.tsv", "time_unit": "date"}


def write_parquet(folder: Path) -> dict:
    frame = pd.DataFrame(EVENTS, columns=["who", "what", "when"])
    frame.assign(when=pd.to_datetime(frame["when"], unit="s"), extra=1.5).to_parquet(folder / "e.parquet")
    return {"interactions": "e.parquet"}


def write_without_header(folder: Path) -> dict:
    (folder / "e.txt").write_text("".join(f"{t}|{u}|{i}\n" for u, i, t in EVENTS))
    return {"interactions": "e.txt", "layout": {"delimiter": "|", "names": ["when", "who", "what"]}}


def write_latin_1(folder: Path) -> dict:
    (folder / "e.csv").write_bytes(
        ("when,who,what\n" + "".join(f"{t},{u},{i}\n" for u, i, t in EVENTS)).encode("latin-1")
    )
    return {"interactions": "e.csv", "layout": {"encoding": "latin-1"}}


@pytest.mark.parametrize("write", [write_csv, write_tsv, write_parquet, write_without_header, write_latin_1])
def test_tables_with_named_columns(tmp_path: Path, write) -> None:
    (tmp_path / "items.csv").write_text('asin,name,maker\nB001,"Kettle, red",Ace\nB002,Lamp,\n')
    options = {
        "source": "table",
        "items": "items.csv",
        "items_layout": {},
        "columns": {"user": "who", "item": "what", "timestamp": "when"},
        "item_columns": {"item": "asin", "text": ["maker", "name"]},
    } | write(tmp_path)
    domain, _ = prepared(options, tmp_path)
    check(domain, EVENTS, {"B001": "Ace Kettle, red", "B002": "Lamp"})


def test_sequence_json_keeps_its_split(tmp_path: Path) -> None:
    for name, content in {
        "train": {"0": [0, 1], "1": [2]},
        "val": {"0": [2], "1": [0]},
        "test": {"0": [0], "1": [1]},
        "umap": {"zoe": 0, "ann": 1},
        "smap": {"a": 0, "b": 1, "c": 2},
        "meta_data": {"a": {"title": "A", "brand": None}, "b": {"title": "B", "brand": "x"}, "c": {"brand": "y"}},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    domain, preparation = prepared({"source": "sequence-json", "folder": ".", "text": ["brand", "title"]}, tmp_path)
    assert not domain.timed
    ids = domain.catalogue.item_ids
    assert {
        user: [ids[i] for i in items] for user, items in zip(domain.user_ids, domain.interactions, strict=True)
    } == {"ann": ["c", "a", "b"], "zoe": ["a", "b", "c", "a"]}
    assert domain.catalogue.texts == ("A", "x B", "y")
    assert not preparation.dropped


def test_built_in_sources_are_found_by_entry_point() -> None:
    assert source_names() == [
        "amazon-2014", "amazon-2018", "amazon-2023", "movielens-100k-genre", "movielens-1m", "movielens-25m", "planted",
        "recbole-atomic", "sequence-json", "steam", "table",
    ]  # fmt: skip
    assert all(source_class(name).model_fields["source"].default == name for name in source_names())


def test_an_unknown_option_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'reviews'"):
        make_source({"source": "amazon-2018", "review": "a", "meta": "b"})


@pytest.mark.parametrize("item", ["é", "aé", "用", "\U0001f600", "a\\b", " padded"])
def test_ids_that_json_escapes_keep_their_texts(tmp_path: Path, item: str) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"reviewerID": "u", "asin": item, "unixReviewTime": 1_500_000_000}))
    (tmp_path / "m.json").write_text(json.dumps({"asin": item, "title": "Kettle"}))
    source = make_source({"source": "amazon-2018", "reviews": "r.json", "meta": "m.json"})
    assert prepare(source.open("toy", tmp_path), 1).catalogue.texts == ("Kettle",)
