"""Commands that list, verify and prune the cache."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import CACHE, CacheDir, Json
from harness.errors import one_line

if TYPE_CHECKING:
    from harness.run.cache import CacheEntry

app = typer.Typer(
    help="The cache of prepared data and trained artefacts: list, verify, prune.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("ls")
def list_entries(cache_dir: CacheDir = CACHE, as_json: Json = False) -> None:
    """List the cache: kind, label, size, and how long ago a command last made or read each entry.

    Example: `harness cache ls`
    """
    from tabulate import tabulate

    from harness.run.cache import entries

    listed = entries(cache_dir)
    if as_json:
        typer.echo(json.dumps([_as_json(entry) for entry in listed], indent=1))
        return
    rows = [[entry.kind, _label(entry), _size(entry.size), _age(entry.used), entry.key[:12]] for entry in listed]
    typer.echo(tabulate(rows, ["kind", "label", "size", "last used", "key"], disable_numparse=True))
    typer.echo(f"{len(listed)} entries, {_size(sum(entry.size for entry in listed))} in {cache_dir}")


@app.command()
def verify(cache_dir: CacheDir = CACHE, as_json: Json = False) -> None:
    """Check every entry against its hashes. Exits with 1 if one is corrupt or was left by a command that was killed.

    Example: `harness cache verify`
    """
    from harness.run.cache import entries, fault

    listed = entries(cache_dir)
    faults = [(entry, reason) for entry in listed if (reason := fault(entry, cache_dir))]
    if as_json:
        typer.echo(json.dumps([{**_as_json(entry), "fault": reason} for entry, reason in faults], indent=1))
    else:
        for entry, reason in faults:
            typer.echo(one_line(f"{entry.kind} {_label(entry)}: {reason}"))
        typer.echo(f"{len(listed)} entries checked, {len(faults)} with a fault")
        if faults:
            typer.echo("Remove them with: harness cache prune", err=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def prune(
    cache_dir: CacheDir = CACHE,
    unused: Annotated[
        float | None, typer.Option("--unused", help="Also entries that no command has read for this many days.", min=0)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be removed and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Remove entries that are unfinished or corrupt, and with --unused those that no command used lately.

    Unfinished: temporary files and checkpoints of killed commands; without its checkpoint a training starts over.
    Corrupt: entries that do not match their hashes. Unused: entries that no command has made or read for that many
    days; a later command makes them again. Nothing that a running command is making is removed.

    Examples:

    - `harness cache prune --dry-run` prints what would be removed

    - `harness cache prune --unused 30` also removes entries last used more than 30 days ago
    """
    from harness.run.cache import prunable
    from harness.run.cache import prune as remove

    chosen = list(prunable(cache_dir, unused))
    removed = chosen if dry_run else remove(cache_dir, chosen)
    if as_json:
        typer.echo(json.dumps([{**_as_json(each.entry), "reason": each.reason} for each in removed], indent=1))
        return
    for each in removed:
        entry = each.entry
        typer.echo(f"{each.reason}: {entry.kind} {_label(entry)} ({_size(entry.size)}, {_age(entry.used)})")
    freed = _size(sum(each.entry.size for each in removed))
    typer.echo(f"{len(removed)} entries, {freed}, {'would be removed' if dry_run else 'removed'}")


def _as_json(entry: "CacheEntry") -> dict[str, object]:
    return {
        "kind": entry.kind,
        "label": entry.label,
        "key": entry.key,
        "bytes": entry.size,
        "used": round(entry.used),
        "path": str(entry.path),
    }


def _label(entry: "CacheEntry") -> str:
    return one_line(entry.label or entry.key[:60])


def _size(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.1f} GB"


def _age(used: float) -> str:
    hours = (time.time() - used) / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min ago"
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"
