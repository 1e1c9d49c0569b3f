"""Settings of the loss."""

from typing import Literal

from pydantic import Field

from tfrs_sage.settings import Settings


class LossConfig(Settings):
    """The loss of every retrieval head (papers: "The loss, exactly")."""

    mode: Literal["in_batch", "random", "mixed_sum", "mixed_concat"] = Field(
        "mixed_sum", description="which negatives, and whether in one softmax or two"
    )
    reduction: Literal["sum", "mean"] = Field(
        "sum",
        description="over the tasks: 'sum' (ItemSage), or 'mean' over those that the batch has "
        "pairs of (OmniSearchSage)",
    )
    correct_positives: bool = Field(True, description="subtract log P(p|q) from the positive")
    correct_negatives: bool = Field(True, description="subtract log Q(n) from the negatives (logQ)")
    max_in_batch_negatives: int | None = Field(
        None, ge=1, description="in-batch negatives of a row, at most; default: the whole sub-batch"
    )
    prefix_weights: dict[int, float] | None = Field(
        None,
        description="Matryoshka: loss weight of each prefix of the embedding, by its width "
        "(the whole width is a prefix too); default: only the whole embedding",
    )
    sketch_width: int = Field(2**20, ge=2, description="counters a row; a power of two")
    sketch_depth: int = Field(2, ge=1, description="rows of the count-min sketch")
    initial_temperature: float = Field(0.07, gt=0, description="exp(-log_scale) at the start")
    max_scale: float = Field(100.0, gt=1, description="upper clamp of exp(log_scale)")
