"""`tfrs-sage evaluate`: recall, MRR and NDCG of a run."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit


def parse_groups(groups: Sequence[str]) -> dict[str, list[str]]:
    """`name=task,task` as a mapping."""
    from tfrs_sage.errors import InputError

    parsed = {}
    for group in groups:
        name, equals, members = group.partition("=")
        if not (name and equals and members):
            raise InputError(f"--group is written name=task,task. Received: {group!r}.")
        parsed[name] = members.split(",")
    return parsed


def told(result: Mapping[str, Any]) -> list[Any]:
    """What rich prints: the table, that of the prefixes and NDCG, the two where there are any."""
    judgments = result.get("judgments")
    lines: list[Any] = []
    named = {**result["tasks"], **result.get("groups", {})}
    if any("prefixes" in figures for figures in named.values()):
        lines.append(prefix_table(named))
    if judgments:
        lines.append(
            f"NDCG@10 within the judged lists: {judgments['ndcg@10']:.3f} over "
            f"{judgments['num_queries']} queries"
        )
    return [figures_table(result), *lines]


def figures_table(result: Mapping[str, Any]) -> Any:
    """The figures of tasks and groups, beside a random order and the most popular."""
    from rich.table import Table

    table = Table(title=f"split {result['split']}: Recall@k over all candidates")
    for heading in ("task", "recall@10", "random", "popular", "recall@100", "mrr", "pairs", "of"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, figures in {**result["tasks"], **result.get("groups", {})}.items():
        table.add_row(
            name,
            f"{figures['recall@10']:.3f}",
            f"{figures['random']['recall@10']:.3f}",
            f"{figures['popular']['recall@10']:.3f}",
            f"{figures['recall@100']:.3f}",
            f"{figures['mrr']:.3f}",
            str(figures["num_pairs"]),
            str(figures["index_size"]),
        )
    return table


def prefix_table(named: Mapping[str, Any]) -> Any:
    """The figures of each Matryoshka prefix, and of the whole embedding for comparison."""
    from rich.table import Table

    table = Table(title="the first components of the embeddings alone")
    for heading in ("task", "components", "recall@10", "recall@100", "mrr"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, figures in named.items():
        for width, one in {**figures["prefixes"], "all": figures}.items():
            cells = [f"{one[key]:.3f}" for key in ("recall@10", "recall@100", "mrr")]
            table.add_row(name, width, *cells, end_section=width == "all")
    return table


def evaluate(
    dir: DirOption,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Tasks to pool: name=task,task.")
    ] = None,
    prefix: Annotated[
        list[int] | None,
        typer.Option(
            "--prefix",
            min=1,
            help="Also the first so many components alone; may be given many times "
            "[those of loss.prefix_weights].",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rank every pair of a split among all candidates: Recall@10, Recall@100, MRR, NDCG@10."""
    from tfrs_sage.cli.run_folder import RunFolder
    from tfrs_sage.report.evaluate_run import evaluate_run

    run = RunFolder.open(dir)
    run.do("towers", skip_done=True)
    run.do("embed", skip_done=True)
    result = evaluate_run(run.path, run.root, split, parse_groups(group or []), run.input, prefix)
    emit(result, json, *told(result))
