"""A query tower with planted answers: one keyword, one axis."""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

KEYWORDS = ("red", "green", "blue", "sofa")
TEXTS = ("Red sofa", "green", "BLUE blue sofa")


class KeywordTower(tf.Module):
    """The sum of the axes of the known words of a text, without regard to case.

    Uses TF Text's case folding and a look-up table with an asset, as real towers do.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        vocabulary = folder / "keywords.txt"
        vocabulary.write_text("\n".join(KEYWORDS) + "\n")
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=len(KEYWORDS),
        )
        axes = np.eye(len(KEYWORDS) + 1, len(KEYWORDS), dtype=np.float32)  # the unknown is 0
        self.axes = tf.Variable(axes)

    def __call__(self, query):
        words = tf.strings.split(tf_text.case_fold_utf8(query))
        axes = tf.convert_to_tensor(self.axes)
        return tf.reduce_sum(tf.gather(axes, self.table.lookup(words)), axis=1)


def save_tower(tower: KeywordTower, folder: Path) -> Path:
    """The tower as a SavedModel of the `query_tower` contract."""
    spec = tf.TensorSpec([None], tf.string, name="query")
    function = tf.function(lambda query: {"embedding": tower(query)}).get_concrete_function(spec)
    tf.saved_model.save(tower, str(folder), signatures={"serving_default": function})
    return folder


# Ids beyond ASCII and with spaces; the vectors are whole numbers, so that scores are exact.
IDS = ("red chair", "grün", "blue-1", "sofa", "red sofa", "dull red")
VECTORS = np.array(
    [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [0, 0, 0, 4], [3, 0, 0, 3], [1, 0, 0, 0]],
    dtype=np.float32,
)


def clustered(count: int, seed: int = 0, dimension: int = 4) -> np.ndarray:
    """float32 `[count, dimension]` of length 1, as all embeddings of the towers are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(20, dimension))
    vectors = centres[rng.integers(20, size=count)] + 0.3 * rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")


def ids_of(answer) -> list[list[str]]:
    """The product ids of an answer as text."""
    return [[i.decode() for i in row] for row in answer["product_id"].numpy()]
