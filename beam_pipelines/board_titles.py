"""The most frequent titles of the boards that a pin was saved to.

    python -m beam_pipelines.board_titles --input TABLES --output FOLDER [--until=2026-01-01 ...]

OmniSearchSage section 3 (arXiv 2404.16260): what people call the collections that they put a pin
into says what it is, in their words. Titles are normalised (NFKC, case folded, white space), each
board counts once a pin, and the 10 most frequent are kept, equal ones in the order of the
alphabet. A product gets the titles of the boards of the pins that show it.

Saves that come after the training period are not known: see `past_engagements`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.command_line import run_job
from beam_pipelines.counters import count
from beam_pipelines.engagements import NO_TIME, microseconds
from beam_pipelines.enrichment_job import (
    add_period,
    common_parser,
    iso,
    run_enrichment,
    split_config,
)
from beam_pipelines.enrichment_rows import GoodRows, WriteEnrichment, best_texts, plain
from beam_pipelines.past_engagements import PastEngagements, split_settings
from beam_pipelines.records import KeepLeast
from beam_pipelines.rejects import REJECTS, reject_row
from beam_pipelines.tables import ReadTable
from tfrs_sage.schema.config import PreprocessConfig
from tfrs_sage.schema.rows import Problem

FIELD = "board_titles"
MOST = 10  # OmniSearchSage section 3


def board_titles(
    input: str,
    output: str | Path,
    config: PreprocessConfig | None = None,
    until: int | None = None,
    most: int = MOST,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes `OUTPUT/board_titles`: rows of `SCHEMAS["board_titles"]` with a manifest.

    Args:
        input: folder of the tables: `boards`, `board_pins`; `pins` for the titles of products;
            `engagements` for the end of the training period.
        output: folder of the enrichments.
        config: the settings that `preprocess` gets: they decide the training period.
        until: microseconds since 1970: saves at or after it are not known either.
        most: titles that are kept of a pin.
        pipeline_args: options of Beam.

    Returns:
        As `run_enrichment`.

    Raises:
        InputError: as `run_enrichment`.
    """
    config = config or PreprocessConfig()

    def build(pipeline: beam.Pipeline, files: Any, folder: Path) -> list[Any]:
        _, end, bad_engagements = pipeline | "Past" >> PastEngagements(files, config, until)
        tables = {}
        letters = [bad_engagements]
        for table in ("boards", "board_pins", "pins"):
            read = pipeline | f"Read_{table}" >> ReadTable(table, files)
            tables[table], bad = read | f"Check_{table}" >> beam.ParDo(
                GoodRows(table)
            ).with_outputs(REJECTS, main="good")
            letters.append(bad)
        titles, bad = tables | "Titles" >> BoardTitles(beam.pvalue.AsSingleton(end), until, most)
        _ = titles | "Write" >> WriteEnrichment(FIELD, folder)
        return [*letters, bad]

    def made_with(counts: Mapping[str, int]) -> dict[str, Any]:
        return {
            "most": most,
            "until": iso(until),
            "splits": split_settings(config),
            "later_saves": counts.get("board_titles/later", 0),
        }

    tables = {"boards": True, "board_pins": True, "pins": False, "engagements": False}
    share = config.max_reject_share
    return run_enrichment(FIELD, input, output, tables, build, share, made_with, pipeline_args)


class BoardTitles(beam.PTransform):
    """`{"boards", "board_pins", "pins"}` of good rows -> (rows of the enrichment, rejects).

    Args:
        end: side input, when the training period ends in microseconds; `NO_TIME` for never.
        until: as `board_titles`.
        most: titles of a pin.
    """

    def __init__(self, end: Any, until: int | None, most: int) -> None:
        super().__init__()
        self._end = end
        self._until = until
        self._most = most

    def expand(self, tables: Any) -> Any:
        members = tables["board_pins"] | "Known" >> beam.ParDo(KnownSaves(self._until), self._end)
        titled = (
            {
                "titles": tables["boards"] | "ByBoard" >> beam.FlatMap(board_title),
                "members": members,
            }
            | "JoinBoards" >> beam.CoGroupByKey()
            | "TitleOfPin" >> beam.ParDo(TitledPins()).with_outputs(REJECTS, main="good")
        )
        of_products = (
            {
                "titled": titled.good,
                "shown": tables["pins"] | "Shown" >> beam.FlatMap(shown_product),
            }
            | "JoinPins" >> beam.CoGroupByKey()
            | "TitleOfProduct" >> beam.FlatMap(titled_products)
        )
        of_pins = titled.good | "PinKeys" >> beam.MapTuple(lambda pin, board: (("pin", pin), board))
        rows = (
            (of_pins, of_products)
            | "AllTitles" >> beam.Flatten()
            | "OncePerBoard" >> beam.Distinct()
            | "ByTitle" >> beam.MapTuple(lambda key, board: ((key, board[1]), 1))
            | "Count" >> beam.CombinePerKey(sum)
            | "Rank" >> beam.MapTuple(lambda key, number: (key[0], (-number, key[1])))
            | "Best" >> beam.CombinePerKey(KeepLeast(self._most))
            | "ToRow" >> beam.Map(best_texts, FIELD)
        )
        return rows, titled[REJECTS]


def board_title(element: tuple[str, int, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """`(board, normalised title)`; the title is empty where the board has none."""
    _, _, row = element
    yield row["board_id"], plain(row.get("title") or "")


def shown_product(element: tuple[str, int, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """`(pin, product that it shows)`."""
    _, _, row = element
    if row.get("product_id"):
        yield row["pin_id"], row["product_id"]


class KnownSaves(beam.DoFn):
    """Rows of `board_pins` -> `(board, (pin, file, row))`, later ones counted and left out."""

    def __init__(self, until: int | None) -> None:
        self._until = until

    def process(
        self, element: tuple[str, int, dict[str, Any]], end: int
    ) -> Iterator[tuple[str, tuple[str, str, int]]]:
        source, number, row = element
        when = row.get("timestamp")
        time = NO_TIME if when is None else microseconds(when)
        is_late = end != NO_TIME and time > end
        if is_late or (self._until is not None and time >= self._until):
            count("board_titles/later")
        else:
            yield row["board_id"], (row["pin_id"], source, number)


class TitledPins(beam.DoFn):
    """Groups of a board -> `(pin, (board, title))`; members of no board to `rejects`."""

    def process(self, element: tuple[str, Mapping[str, Any]]) -> Iterator[Any]:
        board, groups = element
        titles = sorted(groups["titles"])
        for pin, source, number in groups["members"]:
            if not titles:
                expected = "an id that table boards has"
                yield from reject_row(
                    [
                        Problem(
                            "board_pins",
                            number,
                            "board_id",
                            repr(board),
                            expected,
                            source,
                            "reference",
                        )
                    ]
                )
            elif titles[0]:
                yield pin, (board, titles[0])


def titled_products(element: tuple[str, Mapping[str, Any]]) -> Iterator[Any]:
    """Groups of a pin -> `(("product", id), (board, title))`."""
    _, groups = element
    products = sorted(set(groups["shown"]))
    for board in groups["titled"]:
        for product in products:
            yield ("product", product), board


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The job from its command line; options that it does not know go to Beam."""
    parser = common_parser("board_titles", "Most frequent titles of the boards of a pin.")
    add_period(parser)
    parser.add_argument("--most", type=int, default=MOST, help="titles of a pin")
    known, pipeline_args = parser.parse_known_args(argv)
    config = split_config(known)
    return board_titles(known.input, known.output, config, known.until, known.most, pipeline_args)


if __name__ == "__main__":
    # Under its own name, so that workers can import what the pipeline refers to.
    from beam_pipelines import board_titles as module

    sys.exit(run_job(module.run))
