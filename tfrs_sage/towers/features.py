"""From records, or raw features, to what the towers take: in tf.data and in exported graphs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from tfrs_sage.schema.features import ID, IMAGE_DIM, IMAGES, NGRAMS_SUFFIX, EntitySpec
from tfrs_sage.towers.tokenizer import QueryTokenizer
from tfrs_sage.types import Tensor

FLOAT16_BYTES = 2
NGRAM_BYTES = 4
# Ids are compared and counted as 63-bit fingerprints, so that one number stays free.
_NUM_FINGERPRINTS = 2**63 - 1
NO_ID = -1

Vocabulary = Callable[[Tensor], tf.RaggedTensor]


def id_fingerprint(ids: Tensor) -> Tensor:
    """63-bit fingerprints of ids: string `[n]` -> int64 `[n]`, never negative."""
    return tf.strings.to_hash_bucket_fast(ids, _NUM_FINGERPRINTS)


def parse_records(
    serialized: Tensor, spec: EntitySpec, prefix: str = "", stored_ngrams: bool = False
) -> dict[str, Tensor]:
    """Raw features of one entity out of serialized records.

    Args:
        serialized: string `[n]`, `tf.Example` protos.
        spec: which fields the entity has.
        prefix: `query/` or `candidate/` in a pair, empty in a record.
        stored_ngrams: read the n-gram ids that the records hold in place of the texts. Only the
            title then comes as a text too, for encoders with a vocabulary of their own.

    Returns:
        By field: `id` and each text as string `[n]`, empty where absent; `image_embeddings`
        float16 `[n, slots, 256]` with as many slots as the row that has most, and `num_images`
        int32 `[n]`; each further vector float16 `[n, dim]` and `<name>/present` bool `[n]`; with
        `stored_ngrams`, `text_tokens` and `text_lengths` as `EntityTower` takes them.
    """
    texts = [name for name in spec.texts if name == "title" or not stored_ngrams]
    ngrams = [name + NGRAMS_SUFFIX for name in spec.texts] if stored_ngrams else []
    blobs = [ID, *texts, *ngrams, *spec.vectors] + ([IMAGES] if spec.max_images else [])
    parsed = tf.io.parse_example(
        serialized, {prefix + name: tf.io.FixedLenFeature([], tf.string, "") for name in blobs}
    )
    raw = {name: parsed[prefix + name] for name in (ID, *texts)}
    if ngrams:
        raw.update(_decode_ngrams([parsed[prefix + name] for name in ngrams]))
    if spec.max_images:
        raw.update(_decode_images(parsed[prefix + IMAGES], spec.max_images))
    for name, dim in spec.vectors.items():
        data = parsed[prefix + name]
        raw[name] = _decode_float16(data, dim)
        raw[f"{name}/present"] = tf.strings.length(data) > 0
    return raw


def _decode_ngrams(fields: list[Tensor]) -> dict[str, Tensor]:
    """Ids of all texts one after the other, and how many each has."""
    data = tf.stack(fields, axis=1)  # [n, F]
    # Rows differ in length, which `decode_raw` refuses; joined they are one piece of memory.
    joined = tf.strings.reduce_join(tf.reshape(data, [-1]))
    return {
        "text_tokens": tf.io.decode_raw(joined, tf.int32),
        "text_lengths": tf.strings.length(data) // NGRAM_BYTES,
    }


def _decode_float16(data: Tensor, length: int) -> Tensor:
    """float16 `[n, length]` out of bytes; shorter ones are filled up with zeros."""
    # The padded op has no float16 kernel, so it reads the bits as integers.
    bits = tf.io.decode_raw(data, tf.uint16, fixed_length=length * FLOAT16_BYTES)
    return tf.bitcast(bits, tf.float16)


def _decode_images(data: Tensor, max_images: int) -> dict[str, Tensor]:
    image_bytes = IMAGE_DIM * FLOAT16_BYTES
    num_images = tf.strings.length(data) // image_bytes  # [n]
    flat = _decode_float16(data, max_images * IMAGE_DIM)
    images = tf.reshape(flat, [-1, max_images, IMAGE_DIM])
    slots = tf.reduce_max(tf.concat([num_images, [0]], axis=0))
    return {IMAGES: images[:, :slots], "num_images": num_images}


class QueryFeatures:
    """Raw texts -> what the query tower takes, whether they are queries or titles.

    Args:
        tokenizer: of the tower's encoder.
        vocabulary: n-gram ids of strings; None where the tower takes none.
    """

    def __init__(self, tokenizer: QueryTokenizer, vocabulary: Vocabulary | None = None) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary

    def __call__(self, raw: Mapping[str, Tensor]) -> Mapping[str, Any]:
        features = dict(self.tokenizer(raw["text"]))
        if self.vocabulary is not None:
            ids = self.vocabulary(raw["text"])  # ragged [n, None]
            features["text_tokens"] = ids.values
            features["text_lengths"] = tf.cast(ids.row_lengths(), tf.int32)[:, None]
        return features


class EntityFeatures:
    """Raw features of an entity -> what its tower takes.

    Args:
        spec: which features the entity has.
        vocabulary: n-gram ids of strings; None where the entity has no text.
        title_features: where the tower also reads the title, as the query tower takes texts.
    """

    def __init__(
        self,
        spec: EntitySpec,
        vocabulary: Vocabulary | None,
        title_features: QueryFeatures | None = None,
    ) -> None:
        self.spec = spec
        self.vocabulary = vocabulary
        self.title_features = title_features

    def __call__(self, raw: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `EntityTower` for the fields of the result, `parse_records` for those of `raw`."""
        features: dict[str, Any] = {}
        if self.spec.texts and self.vocabulary is not None:
            # Stored ids were looked up when the records were written.
            ngrams = raw if "text_tokens" in raw else self._look_up(raw, self.vocabulary)
            features.update({name: ngrams[name] for name in ("text_tokens", "text_lengths")})
        if self.spec.max_images:
            features["images"] = tf.cast(raw[IMAGES], tf.float32)
            features["num_images"] = raw["num_images"]
        if self.spec.vectors:
            names = self.spec.vectors
            features["vectors"] = {name: tf.cast(raw[name], tf.float32) for name in names}
            features["vector_present"] = {name: raw[f"{name}/present"] for name in names}
        if self.title_features is not None:
            features["title"] = self.title_features({"text": raw["title"]})
        return features

    def _look_up(self, raw: Mapping[str, Tensor], vocabulary: Vocabulary) -> dict[str, Tensor]:
        texts = tf.stack([raw[name] for name in self.spec.texts], axis=1)  # [n, F]
        ids = vocabulary(tf.reshape(texts, [-1]))  # ragged [n * F, None]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        return {
            "text_tokens": ids.values,
            "text_lengths": tf.reshape(lengths, [-1, len(self.spec.texts)]),
        }


def fixed_vectors(
    raw: Mapping[str, Tensor], columns: Iterable[str]
) -> dict[str, dict[str, Tensor]]:
    """Vector columns as candidates of a compatibility task.

    Args:
        raw: of `parse_records`.
        columns: names of vector columns.

    Returns:
        By column `vectors` float32 `[n, dim]`, L2-normalised, and `present` bool `[n]`.
    """
    return {
        name: {
            "vectors": tf.math.l2_normalize(tf.cast(raw[name], tf.float32), axis=1),
            "present": raw[f"{name}/present"],
        }
        for name in columns
    }


def concatenate_features(parts: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Rows of several batches as one: ragged ids are joined, shorter batches padded.

    Every tensor is joined along its rows; where a later axis differs (image slots, token
    positions), the shorter ones get zeros, which the masks leave out.
    """
    if len(parts) == 1:
        return parts[0]
    return {key: _concatenate([part[key] for part in parts]) for key in parts[0]}


def _concatenate(values: list[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return concatenate_features(values)
    if values[0].shape.rank == 1:
        return tf.concat(values, axis=0)
    width = tf.reduce_max(tf.stack([tf.shape(value)[1] for value in values]))
    padded = []
    for value in values:
        padding = [[0, 0], [0, width - tf.shape(value)[1]]] + [[0, 0]] * (value.shape.rank - 2)
        padded.append(tf.pad(value, padding))
    return tf.concat(padded, axis=0)
