"""`tfrs-sage evaluate`: recall, MRR and NDCG of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrs_sage.cli.options import DirOption
from tfrs_sage.cli.output import JsonOption, emit

# In the order of the table.
BASELINES = ("pretrained", "bm25", "cooccurrence", "popular", "random")


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
    """What rich prints: the table, then whatever else there are figures of."""
    judgments = result.get("judgments")
    named = {**result["tasks"], **result.get("groups", {})}
    lines: list[Any] = [figures_table(result["split"], named)]
    if any("column" in figures for figures in named.values()):
        lines.append(fixed_table(named))
    if any("bm25" in figures for figures in named.values()):
        lines.append(baseline_table(named))
    if any("prefixes" in figures for figures in named.values()):
        lines.append(prefix_table(named))
    if any("lists" in figures for figures in named.values()):
        lines.append(list_table(named))
    if any("slices" in figures for figures in named.values()):
        lines.append(slice_table(named))
    if judgments:
        lines.append(
            f"NDCG@10 within the judged lists: {judgments['ndcg@10']:.3f} over "
            f"{judgments['num_queries']} queries"
        )
    return lines


def figures_table(split: str, named: Mapping[str, Any]) -> Any:
    """The figures of tasks and groups, beside a random order and the most popular."""
    from rich.table import Table

    table = Table(title=f"split {split}: Recall@k over all candidates")
    headings = ("task", "recall@10", "95% interval", "random", "popular", "recall@100", "mrr")
    for heading in (*headings, "pairs", "of"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, figures in named.items():
        if "column" not in figures:
            recall, *rest = _compared(figures)
            counts = str(figures["num_pairs"]), str(figures["index_size"])
            table.add_row(name, recall, _interval(figures, "recall@10"), *rest, *counts)
    return table


def baseline_table(named: Mapping[str, Any]) -> Any:
    """The model beside every baseline."""
    from rich.table import Table

    table = Table(title="beside the baselines")
    for heading in ("task", "ranking", "recall@10", "95% interval", "recall@100", "mrr"):
        table.add_column(heading, justify="left" if heading in ("task", "ranking") else "right")
    for name, figures in named.items():
        others = {key: figures[key] for key in BASELINES if key in figures}
        for ranking, one in {"model": figures, **others}.items():
            table.add_row(
                name,
                ranking,
                f"{one['recall@10']:.3f}",
                _interval(one, "recall@10"),
                *(f"{one[key]:.3f}" for key in ("recall@100", "mrr")),
                end_section=ranking == [*others][-1],
            )
    return table


def list_table(named: Mapping[str, Any]) -> Any:
    """What the lists of the ten best are like."""
    from rich.table import Table

    table = Table(title="the lists of the ten best")
    keys = [*next(one["lists"] for one in named.values() if "lists" in one)]
    for heading in ("task", *keys):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, figures in named.items():
        cells = ["" if one is None else f"{one:.3f}" for one in figures["lists"].values()]
        table.add_row(name, *cells)
    return table


def slice_table(named: Mapping[str, Any]) -> Any:
    """Figures by kind of query and candidate."""
    from rich.table import Table

    table = Table(title="by kind of query and candidate")
    for heading in ("task", "slice", "", "recall@10", "95% interval", "recall@100", "mrr", "pairs"):
        table.add_column(heading, justify="left" if heading in ("task", "slice", "") else "right")
    for name, figures in named.items():
        for what, labels in figures["slices"].items():
            for label, one in labels.items():
                table.add_row(
                    name,
                    what,
                    label,
                    f"{one['recall@10']:.3f}",
                    _interval(one, "recall@10"),
                    *(f"{one[key]:.3f}" for key in ("recall@100", "mrr")),
                    str(one["num_pairs"]),
                    end_section=label == [*labels][-1],
                )
    return table


def _interval(figures: Mapping[str, Any], key: str) -> str:
    """`low to high`; empty for what is known exactly."""
    if "intervals" not in figures:
        return ""
    low, high = figures["intervals"][key]
    return f"{low:.3f} to {high:.3f}"


def fixed_table(named: Mapping[str, Any]) -> Any:
    """Compatibility: the new queries against vectors of the tables, and against the new ones."""
    from rich.table import Table

    table = Table(title="compatibility: queries against the vectors of a column")
    headings = ("task", "column", "components", "recall@10", "random", "popular", "recall@100")
    for heading in (*headings, "mrr", "pairs", "left out", "of", "new vectors' recall@10"):
        left = heading in ("task", "column")
        table.add_column(heading, justify="left" if left else "right")
    for name, figures in named.items():
        if "column" in figures:
            task = name.removesuffix(f"@{figures['column']}")
            new = named.get(task) if task != name else None
            table.add_row(
                task,
                figures["column"],
                str(figures["dimension"]),
                *_compared(figures),
                *(str(figures[key]) for key in ("num_pairs", "num_left_out", "index_size")),
                f"{new['recall@10']:.3f}" if new else "",
            )
    return table


def _compared(figures: Mapping[str, Any]) -> list[str]:
    """Recall@10, that of the random order and of the most popular, Recall@100, MRR."""
    values = [
        figures["recall@10"],
        figures["random"]["recall@10"],
        figures["popular"]["recall@10"],
        figures["recall@100"],
        figures["mrr"],
    ]
    return [f"{value:.3f}" for value in values]


def prefix_table(named: Mapping[str, Any]) -> Any:
    """The figures of each Matryoshka prefix, and of the whole embedding for comparison."""
    from rich.table import Table

    table = Table(title="the first components of the embeddings alone")
    for heading in ("task", "components", "recall@10", "recall@100", "mrr"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, figures in named.items():
        for width, one in {**figures.get("prefixes", {}), "all": figures}.items():
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
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also rank by BM25, by the pretrained encoder as it comes, by co-occurrence.",
        ),
    ] = False,
    slice: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            help="Also by kind: new, image, popularity, query_frequency, query_length, all of "
            "these, or a text column of the candidates; may be given many times.",
        ),
    ] = None,
    lists: Annotated[
        bool,
        typer.Option(
            "--lists",
            help="Also coverage, Gini, popularity, novelty and diversity of the ten best.",
        ),
    ] = False,
    distractors: Annotated[
        Path | None,
        typer.Option(
            "--distractors",
            help="Further candidates: a .npy file of vectors, or a folder of embeddings.",
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
    result = evaluate_run(
        run.path,
        run.root,
        split,
        parse_groups(group or []),
        run.input,
        prefix,
        baselines=baselines,
        slices=slice or (),
        lists=lists,
        distractors=distractors,
    )
    emit(result, json, *told(result))
