import numpy as np
import tensorflow as tf

from tfrs_sage.schema.features import EntitySpec
from tfrs_sage.towers.features import EntityFeatures, concatenate_features, parse_records

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


def test_stored_ids_are_taken_in_place_of_the_texts() -> None:
    spec = EntitySpec("product", ("title", "brand"), 0, {}, 3, "fingerprint")
    ids = {"title/ngrams": [7, 2**24], "brand/ngrams": [5]}
    data = {name: np.array(values, "<u4").tobytes() for name, values in ids.items()}
    serialized = tf.constant(
        [
            record(id=b"a", title=b"red", **{"brand/ngrams": data["brand/ngrams"]}),
            record(id=b"b"),
            record(id=b"c", title=b"sofa", **data),
        ]
    )
    raw = parse_records(serialized, spec, stored_ngrams=True)
    assert raw["title"].numpy().tolist() == [b"red", b"", b"sofa"] and "brand" not in raw

    def never(texts):
        raise AssertionError("looked up although the ids are stored")

    features = EntityFeatures(spec, never)(raw)
    assert features["text_tokens"].numpy().tolist() == [5, 7, 2**24, 5]
    assert features["text_lengths"].numpy().tolist() == [[0, 1], [0, 0], [2, 1]]
    # Unless it is asked for, a reader sees the texts: exported towers take any records.
    assert parse_records(serialized, spec).keys() == {"id", "title", "brand"}


def test_concatenated_rows_keep_their_values_and_get_padding() -> None:
    first = {"text_tokens": tf.constant([1, 2]), "images": tf.ones([1, 1, 4])}
    second = {"text_tokens": tf.constant([3]), "images": tf.ones([2, 3, 4])}
    joined = concatenate_features([first, second])
    assert joined["text_tokens"].numpy().tolist() == [1, 2, 3]
    sums = tf.reduce_sum(joined["images"], axis=[1, 2])
    assert joined["images"].shape == (3, 3, 4) and sums.numpy().tolist() == [4, 12, 12]
