"""Settings of the towers."""

from typing import Literal

from pydantic import Field

from tfrs_sage.settings import Settings


class EntityTowerConfig(Settings):
    """The tower of products and of pins: feature vectors fused into one embedding."""

    fusion: Literal["transformer", "sum", "sum_mlp"] = Field(
        "transformer", description="ItemSage's transformer, or one of its two baselines"
    )
    use_text: bool = Field(True, description="take the text features")
    use_images: bool = Field(True, description="take the image vectors")
    use_vectors: bool = Field(True, description="take the further *_embedding columns")
    text_encoder: Literal["auto", "none", "query"] = Field(
        "auto",
        description="'query': the query tower's own encoder also reads the title, and its "
        "embedding is what the fused features correct (weights shared between the sides); "
        "'auto': that where the query tower has a preset, 'none' where it learns from scratch",
    )
    hidden_dim: int = Field(512, ge=8, description="width of the fused features")
    num_heads: int = Field(8, ge=1)
    num_layers: int = Field(1, ge=1, description="transformer blocks; the paper found 1 enough")
    intermediate_dim: int = Field(2048, ge=8, description="width of a block's feed-forward layer")
    head_dim: int = Field(512, ge=8, description="hidden width of the MLP head")
    dropout: float = Field(0.0, ge=0, lt=1)
    text_dim: int = Field(256, ge=8, description="width of an n-gram bag")
    hash_table_size: int = Field(100_000, ge=16, description="rows of the hash-embedding table")
    num_hashes: int = Field(2, ge=1)


class QueryTowerConfig(Settings):
    """The tower of texts: a pretrained encoder, or a small one from scratch."""

    preset: str | None = Field(
        None,
        description="any keras-hub text backbone: a preset name, an hf:// handle or a local "
        "folder; none: a small encoder from scratch over the run's own WordPiece vocabulary",
    )
    pooling: Literal["cls", "mean"] = Field("mean", description="what of the encoder's output")
    max_length: int = Field(64, ge=4, description="tokens of a text, [CLS] and [SEP] included")
    num_layers: int = Field(2, ge=1, description="from scratch: encoder blocks")
    num_heads: int = Field(4, ge=1, description="from scratch")
    hidden_dim: int = Field(128, ge=8, description="from scratch")
    intermediate_dim: int = Field(512, ge=8, description="from scratch")
    dropout: float = Field(0.1, ge=0, lt=1, description="from scratch")
