"""`tfrs-sage explain`: why a product has the rank that it has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit

VALUE_WIDTH = 60  # characters of a field that are shown


def headline(result: Mapping[str, Any]) -> str:
    """What was asked, and the place of the product."""
    asked = repr(result["query"]) if "query" in result else f"products like {result['similar_to']}"
    return (
        f"{result['product']} {result['title']!r} is number {result['rank']:,} of "
        f"{result['of']:,} for {asked}, score {result['score']:.3f}"
    )


def parts_table(result: Mapping[str, Any]) -> Any:
    """The parts of the product by what they carry."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="what carries the score: without it ...", title_justify="left")
    for heading in ("part", "score falls by", "score", "rank", "value"):
        table.add_column(heading, justify="left" if heading in ("part", "value") else "right")
    for one in result["parts"]:
        value = " ".join(one["value"].split())
        short = value if len(value) <= VALUE_WIDTH else value[: VALUE_WIDTH - 3] + "..."
        table.add_row(
            one["part"],
            f"{one['drop']:+.3f}",
            f"{one['score_without']:.3f}",
            f"{one['rank_without']:,}",
            Text(short),
        )
    return table


def others_table(result: Mapping[str, Any]) -> Any:
    """The products that beat it, or those that it beat, and what only they have."""
    from rich.table import Table
    from rich.text import Text

    above = "above" in result
    what = "words of the query" if "query" in result else "fields alike"
    title = "the best above it" if above else "it is the first; the next ones"
    table = Table(title=title, title_justify="left")
    for heading in ("", "score", "product_id", "title", what, "only there"):
        table.add_column(heading)
    for one in result["above" if above else "below"]:
        table.add_row(
            f"{one['rank']:,}",
            f"{one['score']:.3f}",
            Text(one["product_id"]),
            Text(one["title"]),
            Text(", ".join(one["matches"])),
            Text(", ".join(one["only_there"])),
        )
    return table


def told(result: Mapping[str, Any]) -> list[Any]:
    """What rich prints."""
    what = "words of the query that it has" if "query" in result else "fields that are alike"
    found = [
        word if [word] == places else f"{word} ({', '.join(places)})"
        for word, places in result["matches"].items()
    ]
    lines: list[Any] = [headline(result), f"{what}: {', '.join(found) or 'none'}"]
    if result["missing"]:
        lines.append(f"it lacks, and others have: {', '.join(result['missing'])}")
    return [*lines, parts_table(result), others_table(result)]


def explain(
    product: Annotated[str, typer.Option("--product", help="Id of the product to explain.")],
    dir: DirOption = Path("runs/quickstart"),
    query: Annotated[
        str | None, typer.Option("--query", help="What was searched with: a text.")
    ] = None,
    similar_to: Annotated[
        str | None, typer.Option("--similar-to", help="Instead of a text: the id of a product.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Products above it that are shown.")] = 5,
    json: JsonOption = False,
) -> None:
    """Tell a product's score and rank for a search, what of it carries them, and what beat it.

    Each field and each image is left out in turn and the product embedded anew; what carries the
    score most comes first. Fields that say the same stand in for each other: see `all texts`,
    `all images`. A negative fall: the product would score better without it.
    """
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.report.explain import explain as explained

    run = RunFolder.open(dir)
    run.do("towers", skip_done=True)
    run.do("embed", skip_done=True)
    result = explained(run.path, run.root, product, query, similar_to, k)
    emit(result, json, *told(result))
