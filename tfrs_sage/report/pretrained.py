"""The pretrained encoder of a query tower as it comes, without any training on the run's data."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_sage.towers import QueryTokenizer, QueryTower, build_backbone
from tfrs_sage.towers.config import QueryTowerConfig

TEXT_BATCH = 256


class PretrainedEncoder:
    """Embeds texts by a preset, mean-pooled over the tokens, as sentence encoders are.

    Args:
        preset: any keras-hub text backbone.
        max_length: tokens of a text.
    """

    def __init__(self, preset: str, max_length: int = 64) -> None:
        config = QueryTowerConfig(preset=preset, max_length=max_length, pooling="mean", head="none")
        tokenizer = QueryTokenizer(config)
        backbone = build_backbone(config, tokenizer.vocabulary_size)
        tower = QueryTower(backbone, config, backbone.hidden_dim)
        self._vectors: dict[str, np.ndarray] = {}
        self._embed = tf.function(
            lambda texts: tower(tokenizer(texts)),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32 `[n, width]`, L2-normalised; each distinct text is embedded once."""
        new = sorted({text for text in texts if text not in self._vectors}, key=len)
        for start in range(0, len(new), TEXT_BATCH):
            batch = new[start : start + TEXT_BATCH]
            self._vectors.update(zip(batch, self._embed(tf.constant(batch)).numpy(), strict=True))
        return np.stack([self._vectors[text] for text in texts])
