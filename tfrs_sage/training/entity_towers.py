"""The towers of products and pins as a run's configuration wants them."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import keras

from tfrs_sage.errors import InputError
from tfrs_sage.layers import HashEmbeddingBag, SharedMLP
from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers import EntityTower, EntityTowerConfig, UnifiedTower, unified_widths
from tfrs_sage.training.config import RunConfig


def reads_titles(tower: EntityTowerConfig, config: RunConfig, spec: EntitySpec) -> bool:
    """Whether an entity's tower also embeds the title with the query tower's encoder."""
    wanted = tower.text_encoder == "query" or (
        tower.text_encoder == "auto" and config.query_tower.preset is not None
    )
    return wanted and tower.use_text and "title" in spec.texts


def tower_spec(spec: EntitySpec, tower: EntityTowerConfig, fixed: Collection[str]) -> EntitySpec:
    """The spec with the vectors that the tower takes.

    Args:
        spec: all that the records hold.
        tower: settings; `vectors` names the columns to take.
        fixed: columns that the queries are trained against: not taken unless they are named.

    Raises:
        InputError: a column is named that no row has.
    """
    if tower.vectors is None:
        taken = {name: width for name, width in spec.vectors.items() if name not in fixed}
        return replace(spec, vectors=taken)
    for name in tower.vectors:
        if name not in spec.vectors:
            raise InputError(
                f"{spec.entity}_tower.vectors may name vector columns of the {spec.entity}s. "
                f"Received: {name!r}; the data has {', '.join(spec.vectors) or 'none'}."
            )
    return replace(spec, vectors={name: spec.vectors[name] for name in tower.vectors})


def entity_towers(
    config: RunConfig,
    specs: Mapping[str, EntitySpec],
    vocabulary_size: int,
    title_encoders: Mapping[str, keras.layers.Layer],
) -> dict[str, keras.layers.Layer]:
    """The tower of each entity, what they share made once.

    Args:
        config: of the run.
        specs: by entity (`product`, `pin`), with the vectors that its tower takes.
        vocabulary_size: int, n-gram ids.
        title_encoders: the query tower, for the entities whose tower reads titles with it.
    """
    settings = {"product": config.product_tower, "pin": config.pin_tower}
    bag = None
    for entity, spec in specs.items():
        tower = settings[entity]
        if bag is None and tower.use_text and spec.texts:
            # One table for all entities, as in OmniSearchSage's unified tower.
            bag = HashEmbeddingBag(
                vocabulary_size,
                tower.text_dim,
                tower.hash_table_size,
                tower.num_hashes,
                name="hash_embedding",
            )
    mlp = None
    if specs and all(settings[entity].fusion == "unified" for entity in specs):
        widths = unified_widths(
            [(spec, settings[entity]) for entity, spec in specs.items()], config.embedding_dim
        )
        # Zero only where a title's embedding is there to be added to: an entity without one would
        # start with no embedding at all.
        mlp = SharedMLP(
            widths,
            config.product_tower.mlp_dims,
            config.embedding_dim,
            zero_start=all(entity in title_encoders for entity in specs),
            name="unified_mlp",
        )
    towers: dict[str, keras.layers.Layer] = {}
    for entity, spec in specs.items():
        tower, encoder = settings[entity], title_encoders.get(entity)
        if mlp is None:
            towers[entity] = EntityTower(
                spec, tower, config.embedding_dim, bag, encoder, name=entity
            )
            continue
        item_tower = None
        if tower.item_tower:
            item_settings = tower.model_copy(update={"fusion": "transformer"})
            item_tower = EntityTower(
                spec, item_settings, config.embedding_dim, bag, name="item_tower"
            )
        towers[entity] = UnifiedTower(spec, tower, mlp, bag, item_tower, encoder, name=entity)
    return towers
