"""Names, types and widths of every field, from the tables to the records. No TensorFlow.

A *record* is a `tf.train.Example` of one entity (a product, a pin, a query): its id, its texts
as bytes, its vectors as little-endian float16 bytes; what is absent is not stored. A *pair* is a
record of an engagement: a query record and a candidate record side by side, their field names
prefixed with `query/` and `candidate/`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tfrs_sage.errors import InputError

MAX_IMAGES = 20  # ItemSage section 3: the main image and up to 19 more
IMAGE_DIM = 256  # ItemSage section 3: 256-d vectors of a frozen visual model

# ItemSage section 3: the 12 text features of a product.
PRODUCT_TEXTS = (
    "title",
    "description",
    "link_domain",
    "link",
    "google_product_category",
    "product_type",
    "brand",
    "color",
    "material",
    "pattern",
    "size",
    "size_type",
)
# OmniSearchSage section 3: what others than its author say of a pin or product.
ENRICHMENTS = ("caption", "board_titles", "engaged_queries")
PIN_TEXTS = ("title", "description", "link_domain", *ENRICHMENTS)
QUERY_TEXTS = ("text",)
ENTITY_TEXTS: Mapping[str, tuple[str, ...]] = {
    "product": (*PRODUCT_TEXTS, *ENRICHMENTS),
    "pin": PIN_TEXTS,
    "query": QUERY_TEXTS,
}
SPLITS = ("train", "validation", "test")

QUERY_TYPES = ("search", "pin", "product", "user")
CANDIDATE_TYPES = ("product", "pin", "query")
# The entity whose tower embeds a query of this type. Users have no tower: PinnerSage serves them.
QUERY_ENTITY: Mapping[str, str] = {"search": "query", "pin": "pin", "product": "product"}

# Field names of a record.
ID = "id"
IMAGES = "image_embeddings"  # float16 bytes, `[num_images, 256]`
QUERY_PREFIX = "query/"
CANDIDATE_PREFIX = "candidate/"
NEGATIVE_PREFIX = "negative/"  # of a mined hard negative, in the pairs that have one
VECTOR_SUFFIX = "_embedding"  # float16 bytes, `[dim]`
NGRAMS_SUFFIX = "/ngrams"  # after the name of a text: its n-gram ids as little-endian uint32

_TASK = re.compile(r"^(search|pin|product)/(product|pin|query)/([^/\s]+)$")


@dataclass(frozen=True, order=True)
class Task:
    """One retrieval task: a kind of query, a kind of candidate, what the user did."""

    query_type: str
    candidate_type: str
    action: str

    @classmethod
    def parse(cls, name: str) -> "Task":
        """The task of a name such as `search/product/click`."""
        match = _TASK.match(name)
        if match is None:
            raise ValueError(
                "a task is written query_type/candidate_type/action, with a query type of "
                f"search, pin, product and a candidate type of product, pin, query. "
                f"Received: {name!r}."
            )
        return cls(*match.groups())

    @property
    def query_entity(self) -> str:
        return QUERY_ENTITY[self.query_type]

    def __str__(self) -> str:
        return f"{self.query_type}/{self.candidate_type}/{self.action}"


@dataclass(frozen=True, order=True)
class CompatibilityTask:
    """A task whose candidates are vectors of a column, as they come, in place of a tower's.

    OmniSearchSage section 3: the query is trained against embeddings that exist already, so that
    it searches their index too.
    """

    task: Task
    column: str

    def __str__(self) -> str:
        return f"{self.task}@{self.column}"


def compatibility_tasks(
    tasks: Iterable[Task], columns: Mapping[str, Iterable[str]]
) -> list[CompatibilityTask]:
    """One for every task of text queries and every column of its candidates' entity.

    Args:
        tasks: retrieval tasks.
        columns: vector columns by entity.
    """
    return [
        CompatibilityTask(task, column)
        for task in tasks
        if task.query_entity == "query"
        for column in columns.get(task.candidate_type, ())
    ]


@dataclass(frozen=True)
class EntitySpec:
    """What the records of one entity hold, found in the data and kept in the manifest.

    Attributes:
        entity: `product`, `pin` or `query`.
        texts: the text features of which at least one row has a value, in schema order.
        max_images: the most images that a row has; 0 when no row has one.
        vectors: width of each further vector by its column name, e.g. `graph_embedding`.
        count: number of rows.
        ngram_vocabulary: fingerprint of the vocabulary whose n-gram ids the records hold beside
            their texts; None where they hold none.
    """

    entity: str
    texts: tuple[str, ...]
    max_images: int = 0
    vectors: Mapping[str, int] = field(default_factory=dict)
    count: int = 0
    ngram_vocabulary: str | None = None

    def only_texts(self, names: Collection[str] | None) -> "EntitySpec":
        """The spec without the texts that are not named; None names all.

        Raises:
            InputError: a name that is no text feature of the entity.
        """
        unknown = sorted(set(names or ()) - set(ENTITY_TEXTS[self.entity]))
        if unknown:
            raise InputError(
                f"texts of a {self.entity} are of {', '.join(ENTITY_TEXTS[self.entity])}. "
                f"Received: {', '.join(unknown)}."
            )
        if names is None:
            return self
        return replace(self, texts=tuple(name for name in self.texts if name in names))

    @property
    def raw_texts(self) -> tuple[str, ...]:
        """The texts that an exported tower takes as they are, in schema order.

        All of the entity's own, whether the data has them or not, so that clients stay as they
        are; a product's enrichments only where the data has them.
        """
        own = PRODUCT_TEXTS if self.entity == "product" else ENTITY_TEXTS[self.entity]
        return tuple(n for n in ENTITY_TEXTS[self.entity] if n in own or n in self.texts)

    def to_json(self) -> dict[str, Any]:
        return {
            "entity": self.entity,
            "texts": list(self.texts),
            "max_images": self.max_images,
            "vectors": dict(self.vectors),
            "count": self.count,
            "ngram_vocabulary": self.ngram_vocabulary,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EntitySpec":
        return cls(**{**value, "texts": tuple(value["texts"])})
