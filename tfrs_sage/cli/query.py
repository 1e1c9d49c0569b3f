"""`tfrs-sage query`: what the served models answer."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit


def titles_of(run_dir: Path, wanted: set[str]) -> dict[str, str]:
    """Titles of some products, from the run's catalogue."""
    import tensorflow as tf

    fields = {name: tf.io.FixedLenFeature([], tf.string, "") for name in ("id", "title")}
    files = sorted(str(path) for path in (run_dir / "catalogue").glob("product-*.tfrecord"))
    titles = {}
    for batch in tf.data.TFRecordDataset(files).batch(4096):
        parsed = tf.io.parse_example(batch, fields)
        for one, title in zip(parsed["id"].numpy(), parsed["title"].numpy(), strict=True):
            if one.decode() in wanted:
                titles[one.decode()] = title.decode()
    return titles


def ask(run: Any, text: str | None, product: str | None, k: int) -> list[dict[str, Any]]:
    """The answer of the run's `retrieval` model: product id, score and title, best first."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the ops of the query tower)

    from tfrs_sage.errors import InputError
    from tfrs_sage.export.savedmodel import latest_version

    model = tf.saved_model.load(str(latest_version(run.root, "retrieval")))
    limit = tf.constant(k, tf.int32)
    if product is None:
        found = model.signatures["search"](query=tf.constant([text]), k=limit)
    else:
        try:
            found = model.signatures["similar"](product_id=tf.constant([product]), k=limit)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(
                f"--product must be the id of a product of the run. Received: {product!r}."
            ) from error
    ids = [value.decode() for value in found["product_id"][0].numpy()]
    titles = titles_of(run.path, set(ids))
    return [
        {"product_id": one, "score": round(float(score), 4), "title": titles.get(one, "")}
        for one, score in zip(ids, found["score"][0].numpy(), strict=True)
    ]


def answer_table(title: str, answers: list[dict[str, Any]]) -> Any:
    """Answers as rich prints them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for heading in ("", "score", "product_id", "title"):
        table.add_column(heading)
    for rank, one in enumerate(answers, 1):
        score = f"{one['score']:.3f}"
        table.add_row(str(rank), score, Text(one["product_id"]), Text(one["title"]))
    return table


def query(
    text: Annotated[str | None, typer.Argument(help="What a person would type.")] = None,
    dir: DirOption = Path("runs/quickstart"),
    product: Annotated[
        str | None, typer.Option("--product", help="Instead of a text: products like this one.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    json: JsonOption = False,
) -> None:
    """Search a run's products by text, or find those like one of them."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.errors import InputError

    if (text is None) == (product is None):
        raise InputError("query takes a text or --product ID, one of the two.")
    answers = ask(RunFolder.open(dir), text, product, k)
    asked = {"query": text} if product is None else {"product": product}
    emit({**asked, "answers": answers}, json, answer_table(str(text or product), answers))
