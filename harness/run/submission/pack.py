"""Packs results of one method into the folder of a submission."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.protocol.suite import Suite
from harness.results.files import items_path, lists_path, ranks_path, read_result, users_path
from harness.results.record import RunResult
from harness.results.submission import (
    CARD,
    MANIFEST,
    Environment,
    FileRecord,
    Submission,
    path_in_submission,
    read_card,
    submission_folder,
)
from harness.run.progress import NO_PROGRESS, Progress
from harness.run.submission.check import CheckedSubmission, DataCheck, check_submission
from harness.run.submission.suite_fingerprint import suite_fingerprint
from harness.storage.files import check_writable, file_digest, folder_atomically, remove
from harness.suites import current_suite


@dataclass(frozen=True)
class PackedSubmission:
    """What `pack_submission` did.

    Attributes:
        folder: of the submission.
        checked: what its check found.
    """

    folder: Path
    checked: CheckedSubmission


def pack_submission(
    results: Sequence[Path],
    card: Path,
    *,
    output_dir: Path,
    cache_dir: Path,
    data_dir: Path,
    suite: Suite | str | None = None,
    data: DataCheck = "required",
    replace: bool = False,
    progress: Progress = NO_PROGRESS,
) -> PackedSubmission:
    """Pack results of one method on one suite into a folder, and check it as a pull request would be checked.

    Args:
        results: result files, with their other files beside them.
        card: the card's file.
        output_dir: the submission goes into its folder `submissions`.
        cache_dir: folder of prepared data.
        data_dir: folder of the data sets' files.
        suite: the suite or its file, if it is none of the shipped ones.
        data: whether to compare with the suite's data; see `check_submission`.
        replace: replace an earlier submission of the method.
        progress: told of the preparation of data.

    Raises:
        HarnessError: results of several methods or suites, a card that is not valid, or a fault that the check finds.
    """
    read = {path: read_result(path)[0] for path in results}
    first_path, first = next(iter(read.items()))
    for path, result in read.items():
        if (result.method, result.suite, result.suite_version) != (first.method, first.suite, first.suite_version):
            raise HarnessError(
                f"{path} is of {result.method} on {result.suite}/v{result.suite_version}, {first_path} of "
                f"{first.method} on {first.suite}/v{first.suite_version}.",
                "Submit each method and each suite for itself.",
            )
    read_card(card)
    loaded = current_suite(suite or f"{first.suite}/v{first.suite_version}")
    if loaded.id != f"{first.suite}/v{first.suite_version}":
        raise HarnessError(f"{first_path} is not of {loaded.id}.", "Name its suite with --suite.")
    folder = submission_folder(output_dir, first.suite, first.suite_version, first.method)
    if folder.exists() and not replace:
        raise HarnessError(f"{folder} is there already.", "Add --replace to replace it.")
    check_writable(folder.parent)
    with tempfile.TemporaryDirectory() as temporary:
        packed = submission_folder(Path(temporary), first.suite, first.suite_version, first.method)
        _copy(read, card, packed)
        _write_manifest(packed, list(read.values()), loaded)
        try:
            checked = check_submission(
                packed,
                output_dir=output_dir,
                cache_dir=cache_dir,
                data_dir=data_dir,
                suite=None if suite is None else loaded,
                data=data,
                progress=progress,
            )
        except HarnessError as error:  # the temporary folder is nobody's concern
            raise HarnessError(error.what.replace(f"{packed}/", ""), error.hint) from error
        remove(folder)
        with folder_atomically(folder) as unfinished:
            shutil.copytree(packed, unfinished, dirs_exist_ok=True)
    return PackedSubmission(folder, checked)


def _copy(results: dict[Path, RunResult], card: Path, folder: Path) -> None:
    """Copy the card, and the results with all that belongs to them."""
    folder.mkdir(parents=True)
    shutil.copyfile(card, folder / CARD)
    for path, result in results.items():
        copy = folder / path_in_submission(result)
        if copy.exists():
            raise HarnessError(f"{path}: another result of seed {result.seed} is given too.", "Name each result once.")
        copy.parent.mkdir(exist_ok=True)
        kept = [ranks_path, users_path, *([lists_path, items_path] if result.lists_sha256 else [])]
        for place in (lambda each: each, *kept):
            shutil.copyfile(place(path), place(copy))


def _write_manifest(folder: Path, results: Iterable[RunResult], suite: Suite) -> None:
    environments: list[Environment] = []
    for result in results:
        environment = Environment.of(result)
        if environment not in environments:
            environments.append(environment)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = Submission(
        suite=suite.name,
        suite_version=suite.version,
        suite_fingerprint=suite_fingerprint(suite),
        method=folder.name,
        environments=environments,
        files=[
            FileRecord(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=file_digest(path))
            for path in files
        ],
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
