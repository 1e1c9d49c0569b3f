"""SavedModels whose answers are arithmetic."""

from pathlib import Path

import tensorflow as tf

from tests.export.toy import IDS, VECTORS, KeywordTower


class HalfPlus(tf.Module):
    """y = x / 2 + addend, and some signatures that exercise the server."""

    def __init__(self, addend: float) -> None:
        super().__init__()
        self.addend = tf.Variable(addend)

    def half_plus(self, x):
        return {"y": x / 2 + self.addend}

    def pair(self, x, scale):
        return {"twice": 2 * x, "scaled": x * tf.cast(scale, tf.float32)}

    def echo(self, text):
        checked = tf.debugging.Assert(tf.reduce_all(text != "bad"), ["bad text", text])
        with tf.control_dependencies([checked]):
            return {"text": tf.identity(text), "length": tf.strings.length(text)}

    def types(self, i64, u8, flag, half):
        return {"i64": i64 + 1, "u8": u8 + 1, "flag": ~flag, "half": half * 2}

    def total(self, x):
        return {"sum": tf.reduce_sum(x)}

    def save(self, folder: Path) -> None:
        f32, string = tf.float32, tf.string
        signatures = {
            "serving_default": tf.function(self.half_plus).get_concrete_function(
                tf.TensorSpec([None], f32, "x")
            ),
            "pair": tf.function(self.pair).get_concrete_function(
                x=tf.TensorSpec([None, 2], f32, "x"), scale=tf.TensorSpec([], tf.int32, "scale")
            ),
            "echo": tf.function(self.echo).get_concrete_function(
                text=tf.TensorSpec([None], string, "text")
            ),
            "total": tf.function(self.total).get_concrete_function(tf.TensorSpec([None], f32, "x")),
            "types": tf.function(self.types).get_concrete_function(
                i64=tf.TensorSpec(None, tf.int64, "i64"),
                u8=tf.TensorSpec(None, tf.uint8, "u8"),
                flag=tf.TensorSpec(None, tf.bool, "flag"),
                half=tf.TensorSpec(None, tf.half, "half"),
            ),
        }
        tf.saved_model.save(self, str(folder), signatures=signatures)


class TextSearch(tf.Module):
    """A query tower, and a search by it that can also be done in two steps.

    Args:
        folder: for the tower's vocabulary.
        scale: of the embeddings, so that versions differ.
    """

    def __init__(self, folder: Path, scale: float = 1.0) -> None:
        super().__init__()
        self.tower = KeywordTower(folder)
        self.vectors = tf.Variable(VECTORS)
        self.ids = tf.Variable([one.encode() for one in IDS])
        self.scale = scale

    def embed(self, query):
        return {"embedding": tf.ensure_shape(self.scale * self.tower(query), [None, 4])}

    def recommend(self, embedding, weight, k):
        scores = tf.einsum("nmd,cd->nmc", embedding * weight[:, :, tf.newaxis], self.vectors)
        top = tf.math.top_k(tf.reduce_max(scores, axis=1), k)
        return {"product_id": tf.gather(self.ids, top.indices), "score": top.values}

    def search(self, query, k):
        embedding = self.embed(query)["embedding"][:, tf.newaxis]
        return self.recommend(embedding, tf.ones_like(embedding[:, :, 0]), k)

    def save(self, folder: Path) -> Path:
        query = tf.TensorSpec([None], tf.string, "query")
        k = tf.TensorSpec([], tf.int32, "k")
        embedding = tf.TensorSpec([None, None, 4], tf.float32, "embedding")
        weight = tf.TensorSpec([None, None], tf.float32, "weight")
        search = tf.function(self.search).get_concrete_function(query=query, k=k)
        signatures = {
            "serving_default": search,
            "search": search,
            "embed": tf.function(self.embed).get_concrete_function(query=query),
            "recommend": tf.function(self.recommend).get_concrete_function(
                embedding=embedding, weight=weight, k=k
            ),
        }
        options = tf.saved_model.SaveOptions(namespace_whitelist=["TFText"])
        tf.saved_model.save(self, str(folder), signatures=signatures, options=options)
        return folder


class OfExamples(tf.Module):
    """Signatures that take serialized `tf.Example`s of one feature `x`, and some that are wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.two = tf.Variable(2.0)

    def parsed(self, inputs):
        return tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])})[
            "x"
        ]

    def regress(self, inputs):
        return {"outputs": self.parsed(inputs) / 2 + self.two}

    def classify(self, inputs):
        x = self.parsed(inputs)
        return {
            "classes": tf.tile([["low", "high"]], [tf.shape(x)[0], 1]),
            "scores": tf.concat([1 - x, x], axis=1),
        }

    def scores(self, inputs):
        return {"scores": self.classify(inputs)["scores"]}

    def three(self, inputs):
        return {**self.classify(inputs), "more": tf.identity(inputs)}

    def strange(self, inputs):
        return {"strange": self.parsed(inputs)}

    def misshapen(self, inputs):
        return {"outputs": self.classify(inputs)["scores"]}

    def renamed(self, examples):
        return {"outputs": self.parsed(examples)}

    def two_inputs(self, inputs, more):
        return {"outputs": self.parsed(inputs) + more}

    def save(self, folder: Path) -> None:
        texts = tf.TensorSpec([None], tf.string, "inputs")
        names = ("classify", "scores", "three", "strange", "misshapen")
        signatures = {
            name: tf.function(getattr(self, name)).get_concrete_function(inputs=texts)
            for name in names
        }
        signatures["serving_default"] = tf.function(self.regress).get_concrete_function(
            inputs=texts
        )
        signatures["renamed"] = tf.function(self.renamed).get_concrete_function(
            examples=tf.TensorSpec([None], tf.string, "examples")
        )
        signatures["two_inputs"] = tf.function(self.two_inputs).get_concrete_function(
            inputs=texts, more=tf.TensorSpec([], tf.float32, "more")
        )
        tf.saved_model.save(self, str(folder), signatures=signatures)
