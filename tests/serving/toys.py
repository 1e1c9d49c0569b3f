"""SavedModels whose answers are arithmetic."""

from pathlib import Path

import tensorflow as tf


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
            "types": tf.function(self.types).get_concrete_function(
                i64=tf.TensorSpec(None, tf.int64, "i64"),
                u8=tf.TensorSpec(None, tf.uint8, "u8"),
                flag=tf.TensorSpec(None, tf.bool, "flag"),
                half=tf.TensorSpec(None, tf.half, "half"),
            ),
        }
        tf.saved_model.save(self, str(folder), signatures=signatures)
