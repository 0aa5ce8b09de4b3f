"""Results as TREC files, which ranx, ir-measures and trec_eval read: a run and its judgements (qrels)."""

from pathlib import Path

from harness.errors import HarnessError
from harness.results.files import items_path, read_recommendations, read_result
from harness.results.users import CatalogueItems
from harness.storage.files import write_atomically


def write_run(path: Path, folder: Path) -> tuple[Path, Path]:
    """Write a result's recommendation lists as a TREC run, and its held-out items as judgements.

    Scores fall by one from rank to rank, so that every tool has the order of the lists; equal scores of the method are
    no longer ties.

    Args:
        path: of the result file.
        folder: where `<method>-seed<k>.run` and `<scenario>.qrels` go.

    Returns:
        The paths of the run and of the judgements.

    Raises:
        HarnessError: the result keeps no lists, or a file cannot be read; an id holds white space.
    """
    result, table = read_result(path)
    recommendations = read_recommendations(path, result, table.users)
    if recommendations is None:
        raise HarnessError(f"{path} keeps no lists.", "Run it again without --no-lists.")
    item_ids = CatalogueItems.from_parquet(items_path(path)).item_ids
    tag, length = path.stem, recommendations.items.shape[1]
    run = [
        f"{_word(user)} Q0 {_word(item_ids[item])} {rank} {length + 1 - rank} {tag}\n"
        for user, items in zip(table.users.user_ids, recommendations.items, strict=True)
        for rank, item in enumerate(items[items >= 0].tolist(), 1)
    ]
    pairs = zip(table.users.user_ids, table.users.item_ids, strict=True)
    judgements = [f"{_word(user)} 0 {_word(item)} 1\n" for user, item in pairs]
    run_path, judgements_path = folder / f"{path.stem}.run", folder / f"{result.scenario.name}.qrels"
    write_atomically(run_path, "".join(run))
    write_atomically(judgements_path, "".join(judgements))
    return run_path, judgements_path


def _word(text: str) -> str:
    """An id as a field of a TREC file.

    Raises:
        HarnessError: it is empty or holds white space, which separates fields.
    """
    if text.split() != [text]:
        raise HarnessError(f"The id {text[:60]!r} holds white space or nothing.", "Use another format than TREC's.")
    return text
