"""The command that recommends with an exported model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Device, Json
from harness.errors import HarnessError


def recommend(
    model: Annotated[Path, typer.Option(help="A folder that `harness export` wrote.")],
    catalogue: Annotated[Path, typer.Option(help="A CSV file with the columns item_id and text.")],
    first: Annotated[
        list[str] | None,
        typer.Option("--history", help="Titles or ids of the items so far, oldest first.", metavar="TITLE..."),
    ] = None,
    others: Annotated[list[str] | None, typer.Argument(metavar="TITLE", hidden=True)] = None,
    top: Annotated[int, typer.Option(help="How many items to print.", min=1)] = 10,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Rank a catalogue after a history, with an exported model.

    A title may be shortened: Toy Story for Toy Story (1995).

    Example: `harness recommend --model my-model --catalogue items.csv --history "Toy Story" "Aladdin" --top 5`
    """
    from harness.run.recommend import recommend
    from harness.training.device import pick_device

    named, following = first or [], others or []
    if not named:
        raise HarnessError("No history is given.", 'Name its items: --history "Toy Story" "Aladdin".')
    if len(named) > 1 and following:
        raise HarnessError(
            "The order of the history is unclear.", "Put all titles after one --history, or each after its own."
        )
    items = recommend(model, catalogue, [*named, *following], top, pick_device(device))
    if as_json:
        typer.echo(json.dumps([asdict(item) for item in items], ensure_ascii=False, indent=2))
        return
    for item in items:
        typer.echo(f"{item.rank:>3}  {item.score:8.4f}  {item.title or item.item_id}")
