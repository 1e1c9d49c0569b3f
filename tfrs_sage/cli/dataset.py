"""`tfrs-sage dataset`: folders of input tables to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from tfrs_sage.cli.output import JsonOption, emit

app = typer.Typer(help="Write input tables to begin with.", no_args_is_help=True)


@app.callback()
def _dataset() -> None:
    """Write input tables to begin with."""


@app.command()
def marketplace(
    output: Annotated[Path, typer.Option(help="Folder to write the tables to.")],
    num_products: Annotated[int, typer.Option(min=1, help="Size of the catalogue.")] = 1000,
    num_users: Annotated[
        int | None, typer.Option(min=1, help="Users with histories [a fifth of the products].")
    ] = None,
    num_pins: Annotated[
        int | None, typer.Option(min=10, help="Pins [0.6 of the products; rich: 3 times].")
    ] = None,
    rich: Annotated[
        bool,
        typer.Option(
            "--rich", help="Pins without words, and captions, boards and searches that know them."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed writes the same tables.")] = 0,
    json: JsonOption = False,
) -> None:
    """Write the built-in synthetic marketplace: products, pins, engagements, images."""
    from tfrs_sage.datasets.marketplace import write_marketplace

    counts = write_marketplace(
        output,
        num_products=num_products,
        num_users=num_users,
        num_pins=num_pins,
        seed=seed,
        rich=rich,
    )
    result = {"output": str(output), **counts, "num_products": num_products, "seed": seed}
    emit(result, json, f"wrote the marketplace of {num_products} products to {output}")
