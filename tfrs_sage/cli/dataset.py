"""`tfrs-sage dataset`: folders of input tables to begin with."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.output import JsonOption, emit

OutputOption = Annotated[
    Path, typer.Option("--output", "--out", help="Folder to write the tables to.")
]
FromOption = Annotated[
    Path | None,
    typer.Option("--from", help="Folder of the set's own files [with --download OUTPUT-files]."),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Get the files that the folder lacks, by network.")
]

# What each set is, for --help: reading the adapters would take half a second.
PUBLIC = {
    "sqid": "SQID: the products of ESCI's English test queries, with CLIP vectors.",
    "wands": "WANDS: Wayfair's searches for furniture, graded.",
    "movielens": "MovieLens, any release: users' ratings, and what they liked next.",
    "retailrocket": "RetailRocket: what visitors of a shop viewed, carted and bought.",
    "hm": "H&M: purchases of clothes, with texts and photographs.",
}

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


def adapt(name: str, source: Path | None, output: Path, download: bool, **options: Any) -> Any:
    """Gets a public set's files if wanted and writes its tables; result and terms."""
    from tfrs_sage.datasets.public import SETS, convert
    from tfrs_sage.datasets.public import download as get
    from tfrs_sage.errors import InputError

    one = SETS[name]
    if source is None and not download:
        raise InputError(f"--from must name the folder of the files.\n{one.instructions}")
    folder = source or output.with_name(f"{output.name}-files")
    if download:
        get(one, folder)
    rows = convert(one, folder, output, options)
    result = {"output": str(output), "rows": rows, "licence": one.licence}
    return {**result, "citation": one.citation}, one.terms


def told(result: dict[str, Any], terms: str) -> list[str]:
    """What is printed."""
    rows = ", ".join(f"{count:,} {table}" for table, count in result["rows"].items())
    return [terms, f"wrote {rows} to {result['output']}"]


@app.command()
def esci(
    output: OutputOption,
    source: FromOption = None,
    download: DownloadOption = False,
    locale: Annotated[str, typer.Option(help="us, es or jp.")] = "us",
    small: Annotated[
        bool, typer.Option("--small", help="The reduced version alone, with what it judges.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Amazon ESCI: shopping searches with graded products, of one locale."""
    result, terms = adapt("esci", source, output, download, locale=locale, small=small)
    emit(result, json, *told(result, terms))


def _command(name: str) -> Callable[..., None]:
    def command(
        output: OutputOption,
        source: FromOption = None,
        download: DownloadOption = False,
        json: JsonOption = False,
    ) -> None:
        result, terms = adapt(name, source, output, download)
        emit(result, json, *told(result, terms))

    command.__doc__ = PUBLIC[name]
    return command


for _name in PUBLIC:
    app.command(_name)(_command(_name))
