"""Texts as the token ids of a query tower, inside the graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras_hub
import tensorflow as tf
import tensorflow_text as tf_text

from tfrs_sage.towers.config import QueryTowerConfig
from tfrs_sage.types import Tensor


class QueryTokenizer:
    """The tokenizer of a query tower as TensorFlow ops: training and the export run the same.

    Texts are brought to NFKC (a full-width letter or a no-break space is the plain one) and runs
    of white space to one space. Case and accents are the preset's business: its own tokenizer
    folds them if it was trained so, and keeps them if not. From scratch, case is folded.

    Args:
        config: settings; the preset's own tokenizer is taken, or
        wordpieces: the run's WordPiece vocabulary, where the tower is trained from scratch.
    """

    def __init__(self, config: QueryTowerConfig, wordpieces: Sequence[str] = ()) -> None:
        if config.preset is not None:
            tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(config.preset)
        else:
            tokenizer = keras_hub.tokenizers.DistilBertTokenizer(
                vocabulary=list(wordpieces), lowercase=True
            )
        self.tokenizer: Any = tokenizer
        self.max_length = config.max_length
        self._start = getattr(tokenizer, "cls_token_id", tokenizer.start_token_id)
        self._end = getattr(tokenizer, "sep_token_id", None) or tokenizer.end_token_id
        self._pad = tokenizer.pad_token_id or 0

    @property
    def vocabulary_size(self) -> int:
        return int(self.tokenizer.vocabulary_size())

    # A graph even where it is called eagerly: keras-hub's tokenizers give lists outside of one.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts: Tensor) -> Mapping[str, Tensor]:
        """Token ids of texts, padded to the longest of the batch. Runs inside graphs.

        Args:
            texts: string `[batch_size]`, UTF-8.

        Returns:
            `token_ids` int32 and `padding_mask` bool, both `[batch_size, length]`.
        """
        texts = tf_text.normalize_utf8(texts, "NFKC")
        texts = tf.strings.regex_replace(tf.strings.strip(texts), r"\s+", " ")
        ids = self.tokenizer(texts)[:, : self.max_length - 2]  # ragged [B, None]
        column = tf.zeros([tf.shape(texts)[0], 1], ids.dtype)
        ids = tf.concat([column + self._start, ids, column + self._end], axis=1)
        return {
            "token_ids": ids.to_tensor(self._pad),
            "padding_mask": tf.sequence_mask(ids.row_lengths()),
        }
