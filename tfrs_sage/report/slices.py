"""The figures of a run by kind of query and candidate."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfrs_sage.errors import InputError
from tfrs_sage.evaluation.slices import (
    frequency_labels,
    length_labels,
    popularity_deciles,
    seen_labels,
    slice_figures,
    value_labels,
)
from tfrs_sage.report.catalogue_fields import RunTexts
from tfrs_sage.report.ranks import TaskRanks
from tfrs_sage.report.run_pairs import TrainingPairs
from tfrs_sage.schema.features import ENTITY_TEXTS, Task

Labels = Callable[[Task, TaskRanks], list[str]]


class Slices:
    """Labels of a run's pairs, and the figures of each label.

    - `new`: whether training met the candidate, with any query;
    - `image`: whether the candidate has an image;
    - `popularity`: decile of the candidate in the catalogue by its number of training pairs;
    - `query_frequency`: how many training pairs the query has, in any task;
    - `query_length`: words of the query, or of the title of a product or pin;
    - any text column of the candidates, e.g. `brand`: its 20 most frequent values.

    Args:
        run_dir: holds `catalogue/` and `examples/`.
    """

    def __init__(self, run_dir: Path) -> None:
        self._texts = RunTexts(run_dir)
        self._train = TrainingPairs(run_dir)
        self._known: dict[str, Labels] = {
            "new": self._new,
            "image": self._image,
            "popularity": self._popularity,
            "query_frequency": self._query_frequency,
            "query_length": self._query_length,
        }

    def names(self, wanted: Sequence[str]) -> list[str]:
        """The slices wanted, `all` being every one but the text columns.

        Raises:
            InputError: a name that is no slice and no text column.
        """
        columns = {name for names in ENTITY_TEXTS.values() for name in names} - {"text"}
        names: list[str] = []
        for name in wanted:
            if name != "all" and name not in self._known and name not in columns:
                raise InputError(
                    f"--slice must be all, {', '.join(self._known)} or a text column of the "
                    f"candidates. Received: {name!r}."
                )
            names += list(self._known) if name == "all" else [name]
        return list(dict.fromkeys(names))

    def figures(self, task: Task, ranks: TaskRanks, names: Sequence[str]) -> dict[str, Any]:
        """By slice and label, as `slice_figures`; slices that the candidates do not have are left
        out: texts have no images and no columns.

        Args:
            task: the task, or one of a group of like tasks.
            ranks: of its pairs.
            names: as `names` gives them.
        """
        found = {}
        for name in names:
            by_field = name == "image" or name not in self._known
            if task.candidate_type == "query" and by_field:
                continue
            label = self._known.get(name)
            labels = label(task, ranks) if label else self._column(task, ranks, name)
            found[name] = slice_figures(ranks.ranks, ranks.pair_query, labels, ranks.index_size)
        return found

    def _new(self, task: Task, ranks: TaskRanks) -> list[str]:
        counts = self._train.candidate_counts(task.candidate_type)
        return seen_labels([counts[one] for one in ranks.candidates])

    def _image(self, task: Task, ranks: TaskRanks) -> list[str]:
        fields = self._texts.fields(task.candidate_type)
        images = [fields.num_images[fields.rows[one]] for one in ranks.candidates]
        return ["with image" if count else "without image" for count in images]

    def _popularity(self, task: Task, ranks: TaskRanks) -> list[str]:
        counts = self._train.candidate_counts(task.candidate_type)
        # Texts are candidates as they are met: those of training and of these pairs.
        known = (
            counts
            if task.candidate_type == "query"
            else self._texts.fields(task.candidate_type).rows
        )
        every = list(dict.fromkeys([*known, *ranks.candidates]))
        deciles = dict(zip(every, popularity_deciles([counts[one] for one in every]), strict=True))
        return [f"decile {deciles[one]}" for one in ranks.candidates]

    def _query_frequency(self, task: Task, ranks: TaskRanks) -> list[str]:
        counts = self._train.query_counts(task.query_type)
        return frequency_labels([counts[one] for one in ranks.queries])

    def _query_length(self, task: Task, ranks: TaskRanks) -> list[str]:
        return length_labels(self._texts.titles(task.query_entity, ranks.queries))

    def _column(self, task: Task, ranks: TaskRanks, name: str) -> list[str]:
        fields = self._texts.fields(task.candidate_type)
        values = fields.texts.get(name)
        if values is None:  # a column that no row of the data has
            return value_labels([None] * len(ranks.candidates))
        return value_labels([values[fields.rows[one]] for one in ranks.candidates])
