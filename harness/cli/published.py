"""The list of published figures."""

import json

import typer


def print_published(as_json: bool) -> None:
    """Print the registry of published figures: a table and its sources, or all fields as JSON."""
    from tabulate import tabulate

    from harness.suites.published import published_sources

    sources = published_sources()
    if as_json:
        typer.echo(json.dumps([source.model_dump() for source in sources], indent=1, ensure_ascii=False))
        return
    rows = []
    for source in sources:
        tags = source.protocol
        for figure in source.figures:
            for name, values in figure.values.items():
                shown = ", ".join(f"{metric.upper()} {value:.4f}" for metric, value in values.items())
                protocol = (
                    f"{tags.split}, {tags.k_core}-core, {tags.candidates}, history {tags.history}, ties {tags.ties}"
                )
                rows.append([source.key, figure.method, name, shown, figure.loss, protocol])
    headings = ["source", "method", "data", "figures", "loss", "protocol"]
    typer.echo(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))
    typer.echo()
    for source in sources:
        typer.echo(f"{source.key}: {source.citation}. {source.url}. Protocol: {source.protocol.known_from}.")
