import numpy as np
import tensorflow as tf

from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers.features import concatenate_features, parse_records

SPEC = EntitySpec("product", ("title",), 3, {"graph_embedding": 2}, 2)


def record(prefix="", **fields):
    values = {
        prefix + name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in fields.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def test_records_come_back_as_they_were_written() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 256)).astype("<f2")
    graph = np.array([0.5, -2.0], "<f2")
    serialized = [
        record(id=b"a", title="café".encode(), image_embeddings=images.tobytes()),
        record(id=b"b", graph_embedding=graph.tobytes()),
    ]
    raw = parse_records(tf.constant(serialized), SPEC)
    assert [value.decode() for value in raw["title"].numpy()] == ["café", ""]
    assert raw["num_images"].numpy().tolist() == [2, 0]
    assert raw["image_embeddings"].shape == (2, 2, 256)  # as many slots as the fullest row
    np.testing.assert_array_equal(raw["image_embeddings"][0], images)
    np.testing.assert_array_equal(raw["image_embeddings"][1], np.zeros((2, 256)))
    np.testing.assert_array_equal(raw["graph_embedding"], [[0, 0], [0.5, -2.0]])
    assert raw["graph_embedding/present"].numpy().tolist() == [False, True]


def test_prefix_picks_one_side_of_a_pair() -> None:
    serialized = tf.constant([record("candidate/", id=b"c", title=b"sofa")])
    assert parse_records(serialized, SPEC, "candidate/")["title"].numpy() == [b"sofa"]
    assert parse_records(serialized, SPEC, "query/")["title"].numpy() == [b""]


def test_concatenated_rows_keep_their_values_and_get_padding() -> None:
    first = {"text_tokens": tf.constant([1, 2]), "images": tf.ones([1, 1, 4])}
    second = {"text_tokens": tf.constant([3]), "images": tf.ones([2, 3, 4])}
    joined = concatenate_features([first, second])
    assert joined["text_tokens"].numpy().tolist() == [1, 2, 3]
    sums = tf.reduce_sum(joined["images"], axis=[1, 2])
    assert joined["images"].shape == (3, 3, 4) and sums.numpy().tolist() == [4, 12, 12]
