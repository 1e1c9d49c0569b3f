"""MovieLens, in the three formats of its releases: users' ratings as histories and successions."""

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfrs_sage.datasets.public.source import TIMED_ENGAGEMENTS, PublicSet
from tfrs_sage.datasets.writing import row_batches, write_table
from tfrs_sage.errors import InputError

# Shares of a user's ratings, in their order.
TRAIN, VALIDATION = 0.8, 0.9
MOVIE_SCHEMA = pa.schema([(name, pa.string()) for name in ("product_id", "title", "product_type")])
SCHEMA = TIMED_ENGAGEMENTS.append(pa.field("split", pa.string()))
Rating = tuple[str, str, float, int]  # user, movie, stars, seconds since 1970


def write_movielens(folder: Path, place: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Writes the movies; ratings as `user` histories; what the same user liked next.

    `user/product` rows have the actions `view` (below 4 stars), `like` (from 4) and `love` (5);
    `product/product` rows `next_like` and `next_love`: from a movie to the next one of the same
    user, where that got as many stars. The split is by each user's own time: the first 80% of the
    ratings train, then 10% and 10%.

    Args:
        folder: an unpacked release.
        place: folder of the tables.
        options: none.
    """
    known: set[str] = set()

    def movies() -> Iterator[dict[str, Any]]:
        for movie, title, genres in read_movies(folder):
            known.add(movie)
            yield {"product_id": movie, "title": title, "product_type": genres or None}

    batches = row_batches(movies(), MOVIE_SCHEMA)
    counts = {"products": write_table(place / "products.parquet", MOVIE_SCHEMA, batches)}
    rows = (row for row in engagement_rows(folder) if row["candidate"] in known)
    counts["engagements"] = write_table(
        place / "engagements.parquet", SCHEMA, row_batches(rows, SCHEMA)
    )
    return counts


def engagement_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Histories and successions of one user after the other."""
    done: set[str] = set()
    for user, group in groupby(read_ratings(folder), itemgetter(0)):
        if user in done:
            raise InputError(
                f"the ratings in {folder} must have those of a user one after the other, as the "
                f"releases have. Found: user {user} in two places. Sort the file by user."
            )
        done.add(user)
        ratings = sorted(group, key=lambda one: (one[3], one[1]))
        rows = [_row(one, place / len(ratings)) for place, one in enumerate(ratings)]
        yield from rows
        for before, after in pairwise(rows):
            if after["action"] != "view":
                yield {
                    **after,
                    "query_type": "product",
                    "query": before["candidate"],
                    "action": f"next_{after['action']}",
                }


def _row(rating: Rating, place: float) -> dict[str, Any]:
    user, movie, stars, seconds = rating
    return {
        "query_type": "user",
        "query": user,
        "candidate_type": "product",
        "candidate": movie,
        "action": "love" if stars >= 5 else "like" if stars >= 4 else "view",
        "user_id": user,
        "timestamp": datetime.fromtimestamp(seconds, UTC),
        "split": "train" if place < TRAIN else "validation" if place < VALIDATION else "test",
    }


def read_movies(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Id, title and genres, by spaces, of each movie."""
    if (folder / "movies.csv").is_file():
        with open(folder / "movies.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                genres = row["genres"].replace("(no genres listed)", "")
                yield row["movieId"], row["title"], genres.replace("|", " ")
    elif (folder / "movies.dat").is_file():
        for movie, title, genres in _cells(folder / "movies.dat", "::", 3):
            yield movie, title, genres.replace("|", " ")
    else:
        names = {}
        for name, number in _cells(folder / "u.genre", "|", 2):
            names[int(number)] = name
        for cells in _cells(folder / "u.item", "|", 5 + len(names)):
            marks = enumerate(cells[5:])
            genres = " ".join(names[place] for place, mark in marks if mark == "1")
            yield cells[0], cells[1], genres.replace("unknown", "").strip()


def read_ratings(folder: Path) -> Iterator[Rating]:
    """The ratings, those of a user one after the other."""
    if (folder / "ratings.csv").is_file():
        with open(folder / "ratings.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                stars, seconds = float(row["rating"]), int(row["timestamp"])
                yield row["userId"], row["movieId"], stars, seconds
    elif (folder / "ratings.dat").is_file():
        for cells in _cells(folder / "ratings.dat", "::", 4):
            yield cells[0], cells[1], float(cells[2]), int(cells[3])
    else:  # 100,000 rows, in no order
        rows = sorted(_cells(folder / "u.data", "\t", 4), key=lambda row: int(row[0]))
        for cells in rows:
            yield cells[0], cells[1], float(cells[2]), int(cells[3])


def _cells(path: Path, delimiter: str, count: int) -> Iterator[list[str]]:
    """The cells of each line of the older releases, which are in Latin-1 and quote nothing."""
    with open(path, encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip("\r\n").split(delimiter)
            if cells == [""]:
                continue
            if len(cells) != count:
                raise InputError(
                    f"{path} must have {count} cells a line, separated by {delimiter!r}. Found: "
                    f"{len(cells)} in line {number}."
                )
            yield cells


MOVIELENS = PublicSet(
    name="movielens",
    title="MovieLens",
    homepage="https://grouplens.org/datasets/movielens/",
    licence="research use, no redistribution (the README of the release has the terms)",
    citation=(
        "Harper and Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4) 19 (2015), "
        "doi 10.1145/2827872"
    ),
    files={
        "movies.csv or movies.dat or u.item": "the movies (ml-latest, ml-25m, ml-32m; ml-1m, "
        "ml-10m; ml-100k, with u.genre)",
        "ratings.csv or ratings.dat or u.data": "the ratings of the same release",
    },
    write=write_movielens,
    downloads={"ml-100k.zip": "https://files.grouplens.org/datasets/movielens/ml-100k.zip"},
)
