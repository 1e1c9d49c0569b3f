"""Settings of the towers."""

from typing import Literal

from pydantic import Field

from tfrs_sage.settings import Settings


class EntityTowerConfig(Settings):
    """The tower of products and of pins: feature vectors fused into one embedding."""

    fusion: Literal["transformer", "sum", "sum_mlp", "unified"] = Field(
        "transformer",
        description="ItemSage's transformer, or one of its two baselines; 'unified': "
        "OmniSearchSage's MLP, shared by products and pins",
    )
    use_text: bool = Field(True, description="take the text features")
    texts: tuple[str, ...] | None = Field(
        None, description="the text features to take, by name; default: all that the data has"
    )
    use_images: bool = Field(True, description="take the image vectors")
    use_vectors: bool = Field(True, description="take the further *_embedding columns")
    vectors: tuple[str, ...] | None = Field(
        None,
        description="which *_embedding columns; default: all but those of training.compatibility",
    )
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
    mlp_dims: tuple[int, ...] = Field(
        (1024, 1024),
        description="unified: widths of the MLP's hidden layers; the last one is embedding_dim",
    )
    item_tower: bool = Field(
        False,
        description="unified, products: ItemSage's transformer over the product's features gives "
        "the MLP one more vector, learned with it",
    )


# What the one MLP and the one hash-embedding table of the unified tower are made of.
_SHARED = ("fusion", "mlp_dims", "text_dim", "hash_table_size", "num_hashes")


def check_unified(product: EntityTowerConfig, pin: EntityTowerConfig) -> None:
    """Refuses settings of the unified tower that contradict each other.

    Raises:
        ValueError: what products and pins share differs, or an item tower has no place.
    """
    for section, tower in (("product_tower", product), ("pin_tower", pin)):
        if tower.item_tower and (tower.fusion != "unified" or section == "pin_tower"):
            raise ValueError(
                "item_tower is of products under fusion 'unified'; found it in "
                f"{section} with fusion {tower.fusion!r}: set {section}.item_tower to false"
                + (" or product_tower.fusion to unified" if tower is product else "")
            )
    if "unified" not in (product.fusion, pin.fusion):
        return
    for name in _SHARED:
        ours, theirs = getattr(product, name), getattr(pin, name)
        if ours != theirs:
            raise ValueError(
                "products and pins share one unified tower, so its settings must be equal: "
                f"product_tower.{name} is {ours!r}, pin_tower.{name} is {theirs!r}"
            )


class QueryTowerConfig(Settings):
    """The tower of texts: a pretrained encoder, or a small one from scratch."""

    preset: str | None = Field(
        None,
        description="any keras-hub text backbone: a preset name, an hf:// handle or a local "
        "folder; none: a small encoder from scratch over the run's own WordPiece vocabulary",
    )
    pooling: Literal["cls", "mean"] = Field("mean", description="what of the encoder's output")
    head: Literal["linear", "none"] = Field(
        "linear",
        description="a linear layer to embedding_dim, or none: then embedding_dim must be the "
        "encoder's width",
    )
    frozen_layers: int = Field(
        0,
        ge=0,
        description="so many encoder blocks, from the first on, do not train, nor do the "
        "embeddings below them; 0: everything trains",
    )
    layer_rate_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="block i of n learns at decay^(n - i) of the rate, the embeddings at decay^n",
    )
    max_length: int = Field(64, ge=4, description="tokens of a text, [CLS] and [SEP] included")
    lexical_dim: int = Field(
        0,
        ge=0,
        description="components of the embedding that the n-grams of the text give, for exact "
        "words and part numbers, and not the encoder; 0: none",
    )
    lexical_share: float = Field(
        0.5, gt=0, lt=1, description="of a score that they have at the start; learned"
    )
    lexical_table_size: int = Field(100_000, ge=16, description="rows of their hash table")
    num_layers: int = Field(2, ge=1, description="from scratch: encoder blocks")
    num_heads: int = Field(4, ge=1, description="from scratch")
    hidden_dim: int = Field(128, ge=8, description="from scratch")
    intermediate_dim: int = Field(512, ge=8, description="from scratch")
    dropout: float = Field(0.1, ge=0, lt=1, description="from scratch")
