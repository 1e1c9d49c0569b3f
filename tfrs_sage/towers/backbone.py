"""A text encoder by depth: which layers are its blocks, which of them train, and how fast."""

import re

import keras

from tfrs_sage.errors import InputError

_NUMBERED = re.compile(r"^(?P<stem>.+)_\d+$")


def stages(backbone: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers with weights of a keras-hub text backbone, from its input to its output.

    Blocks are the longest series of layers that are named alike but for a number at the end, as
    every keras-hub backbone names them (`transformer_layer_0`, `decoder_block_0`, ...).

    Args:
        backbone: a functional model of one stack of blocks.

    Returns:
        `n + 2` lists for `n` blocks: everything before the last block that is no block (the
        embeddings), each block, and what follows (a final norm, a pooler).

    Raises:
        InputError: no layer is named so.

    Example:
        >>> from keras_hub.models import BertBackbone
        >>> bert = BertBackbone(
        ...     vocabulary_size=9, num_layers=2, num_heads=1, hidden_dim=4, intermediate_dim=4
        ... )
        >>> [layer.name for part in stages(bert)[1:] for layer in part]
        ['transformer_layer_0', 'transformer_layer_1', 'pooled_dense']
    """
    weighted = [layer for layer in backbone.layers if layer.weights]
    series: dict[str, list[keras.layers.Layer]] = {}
    for layer in weighted:
        if match := _NUMBERED.match(layer.name):
            series.setdefault(match["stem"], []).append(layer)
    if not series:
        raise InputError(
            "query_tower.frozen_layers and query_tower.layer_rate_decay need a backbone whose "
            f"blocks are numbered layers. Found in {backbone.name}: "
            f"{', '.join(layer.name for layer in weighted)}. Leave both at their defaults."
        )
    blocks = max(series.values(), key=len)
    end = weighted.index(blocks[-1]) + 1
    embeddings = [layer for layer in weighted[:end] if layer not in blocks]
    return [embeddings, *([block] for block in blocks), weighted[end:]]


def freeze(backbone: keras.Model, num_blocks: int) -> keras.Model:
    """The backbone with its embeddings and its first blocks as constants.

    Their weights are no longer trainable, and no gradient is worked out below the last of them:
    the backward pass of a step ends there.

    Args:
        backbone: a keras-hub text backbone; its own layers are changed and shared.
        num_blocks: int, how many blocks; 0 freezes nothing, not even the embeddings.

    Raises:
        InputError: the backbone has fewer blocks.
    """
    if num_blocks == 0:
        return backbone
    parts = stages(backbone)
    if num_blocks > len(parts) - 2:
        raise InputError(
            f"query_tower.frozen_layers must be 0 to {len(parts) - 2}, the encoder blocks of "
            f"{backbone.name}. Received: {num_blocks}."
        )
    frozen = {id(layer) for part in parts[: num_blocks + 1] for layer in part}
    for layer in backbone.layers:
        if id(layer) in frozen:
            layer.trainable = False

    def call(layer: keras.layers.Layer, *args: object, **kwargs: object) -> object:
        output = layer(*args, **kwargs)
        return keras.ops.stop_gradient(output) if id(layer) in frozen else output

    # The same layers in a second graph: `trainable` alone would leave the tape to walk down.
    return keras.models.clone_model(backbone, clone_function=lambda one: one, call_function=call)


def rate_factors(backbone: keras.Model, decay: float) -> list[tuple[list[keras.Variable], float]]:
    """Layer-wise learning rates: the factor of the rate of each stage's trainable weights.

    Block i of n learns at `decay ** (n - i)` of the rate, the embeddings at `decay ** n`, what
    follows the last block at the rate itself: the lower a layer, the more general what it knows
    and the less it should change (Howard and Ruder, ACL 2018, arXiv 1801.06146, section 3.2).

    Args:
        backbone: a keras-hub text backbone.
        decay: float, above 0 and at most 1, which needs no blocks to be found.
    """
    if decay == 1.0:
        return [(list(backbone.trainable_variables), 1.0)]
    parts = stages(backbone)
    num_blocks = len(parts) - 2
    return [
        ([v for layer in part for v in layer.trainable_variables], decay ** max(0, num_blocks - i))
        for i, part in enumerate(parts)
    ]
