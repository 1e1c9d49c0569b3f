"""`tfrs-sage query`: what a run answers to a text, for a product, for a user."""

import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption, StoreOption
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
    from tfrs_sage.export.savedmodel import latest_version, run_source

    own = run_source(run.path)
    model = tf.saved_model.load(str(latest_version(run.root, "retrieval", own)))
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


def ask_for_user(
    run: Any, user_id: str, k: int, seed: int | None, store: str | None
) -> dict[str, Any]:
    """A user's clusters and what they retrieve, each item with the medoid that it is from.

    Returns:
        `user`; `source`, `medoids` or `popular`; `clusters` (`medoid_id`, `title`, `size`,
        `importance`, `first_time`, `last_time`, and `drawn`, whether it took part), most
        important first; `answers` (`product_id`, `score`, `title`, `medoid_id`), best first;
        `num_acted_on` and `num_near_duplicates`, items that were left out.
    """
    from serving.run_users import open_recommender
    from tfrs_sage.users.store import StoredUser

    recommender = open_recommender(run.path, run.config.users, store)
    with recommender.store as opened:
        user = opened.get(user_id) or StoredUser(user_id)
    found = recommender.recommend_to(user, k, seed)
    titles = titles_of(
        run.path,
        {one.medoid_id for one in user.clusters} | {one.item_id for one in found.items},
    )
    drawn = {one.medoid_id for one in found.medoids}
    clusters = [
        {
            "medoid_id": one.medoid_id,
            "title": titles.get(one.medoid_id, ""),
            "size": one.size,
            "importance": round(one.importance, 4),
            "first_time": one.first_time,
            "last_time": one.last_time,
            "drawn": one.medoid_id in drawn,
        }
        for one in user.clusters
    ]
    answers = [
        {
            "product_id": one.item_id,
            "score": round(one.score, 4),
            "title": titles.get(one.item_id, ""),
            "medoid_id": one.medoid_id,
        }
        for one in found.items
    ]
    return {
        "user": user_id,
        "source": found.source,
        "clusters": clusters,
        "answers": answers,
        "num_acted_on": found.num_acted_on,
        "num_near_duplicates": found.num_near_duplicates,
    }


def day(time: float) -> str:
    """The date, in UTC, of seconds since the epoch."""
    return f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d}"


def clusters_table(result: dict[str, Any]) -> Any:
    """A user's clusters as rich prints them; one line for a user without any."""
    from rich.table import Table
    from rich.text import Text

    if not result["clusters"]:
        return f"User {result['user']} has no clusters: unknown or new."
    table = Table(title=Text(f"clusters of user {result['user']}"), title_justify="left")
    for heading in ("drawn", "importance", "actions", "from", "to", "medoid", "title"):
        table.add_column(heading)
    for one in result["clusters"]:
        numbers = (f"{one['importance']:.2f}", str(one["size"]))
        days = (day(one["first_time"]), day(one["last_time"]))
        names = (Text(one["medoid_id"]), Text(one["title"]))
        table.add_row("*" if one["drawn"] else "", *numbers, *days, *names)
    return table


def items_table(result: dict[str, Any]) -> Any:
    """What a user is shown as rich prints it, each item with the medoid that it is from."""
    from rich.table import Table
    from rich.text import Text

    is_popular = result["source"] == "popular"
    title = "the most popular items" if is_popular else "items near the medoids that were drawn"
    table = Table(title=Text(title), title_justify="left")
    for heading in ("", "users" if is_popular else "score", "product_id", "title", "because of"):
        table.add_column(heading)
    titles = {one["medoid_id"]: one["title"] for one in result["clusters"]}
    for rank, one in enumerate(result["answers"], 1):
        score = f"{one['score']:.0f}" if is_popular else f"{one['score']:.3f}"
        medoid = one["medoid_id"]
        reason = "popular" if medoid is None else f"{medoid} {titles[medoid]}".rstrip()
        table.add_row(str(rank), score, Text(one["product_id"]), Text(one["title"]), Text(reason))
    return table


def left_out(result: dict[str, Any]) -> str:
    """How many items were not shown, and why."""
    return (
        f"Left out: {result['num_acted_on']} that the user has acted on, "
        f"{result['num_near_duplicates']} near-duplicates of these."
    )


def query(
    text: Annotated[str | None, typer.Argument(help="What a person would type.")] = None,
    dir: DirOption = Path("runs/quickstart"),
    product: Annotated[
        str | None, typer.Option("--product", help="Instead of a text: products like this one.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="Instead of a text: this user's clusters, and items for them."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of the draw of a user's medoids [another each time]."),
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Search a run's products by text, find those like one of them, or those for a user."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.errors import InputError

    if [text, product, user].count(None) != 2:
        raise InputError("query takes a text, --product ID or --user ID, one of them.")
    if user is None and (seed is not None or store is not None):
        raise InputError("--seed and --store are for --user. Received: no --user. Leave them out.")
    run = RunFolder.open(dir)
    if user is not None:
        result = ask_for_user(run, user, k, seed, store)
        emit(result, json, clusters_table(result), items_table(result), left_out(result))
        return
    answers = ask(run, text, product, k)
    asked = {"query": text} if product is None else {"product": product}
    emit({**asked, "answers": answers}, json, answer_table(str(text or product), answers))
