"""What the preprocessing does with the tables."""

from pydantic import Field

from tfrs_sage.settings import Settings


class PreprocessConfig(Settings):
    """Settings of `preprocess`: vocabularies, images, examples."""

    seed: int = Field(0, description="seed of the shuffle and of the hash split")
    max_unigrams: int = Field(200_000, ge=1, le=200_000, description="word vocabulary size")
    max_bigrams: int = Field(1_000_000, ge=1, le=1_000_000, description="word-pair vocabulary size")
    max_char_trigrams: int = Field(64_000, ge=1, le=64_000, description="3-character vocabulary")
    min_count: int = Field(2, ge=1, description="n-grams seen less often are left out")
    wordpiece_size: int = Field(
        8000, ge=200, description="WordPiece vocabulary of a query tower trained from scratch"
    )
    image_encoder: str = Field(
        "classical",
        description="'classical' (colour and gradient descriptor, no weights) or a keras-hub "
        "image preset",
    )
    max_pairs_per_query: int = Field(200, ge=1, description="pairs kept of one query and task")
    max_pairs_per_candidate: int = Field(
        200,
        ge=1,
        description="pairs kept of one candidate and task (OmniSearchSage: 50 per pin, "
        "200 per product)",
    )
    store_ngram_ids: bool = Field(
        False,
        description="keep the n-gram ids of every text in the records: training then looks "
        "nothing up, the files grow",
    )
    validation_share: float = Field(0.1, ge=0, lt=1, description="where the tables give no split")
    test_share: float = Field(0.1, ge=0, lt=1, description="where the tables give no split")
    shard_bytes: int = Field(128 * 2**20, ge=1024, description="size of an example file, at most")
    enrichments: tuple[str, ...] = Field(
        (),
        description="folders that the jobs captions, board_titles and engaged_queries wrote: their "
        "texts join those of pins and products",
    )
    max_reject_share: float = Field(
        0.01, ge=0, le=1, description="the job fails when more rows of a table are rejected"
    )
