"""Our side: an exported query tower, loaded as any server would. Settings: folder, threads."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (the tokenizer's ops)
from side import serve

settings = json.loads(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
model = tf.saved_model.load(settings["folder"])
files = Path(settings["folder"]).rglob("*")


def encode(texts: list[str]) -> np.ndarray:
    found: np.ndarray = model.signatures["serving_default"](query=tf.constant(texts))[
        "embedding"
    ].numpy()
    return found


serve({"bytes": sum(one.stat().st_size for one in files), "tensorflow": tf.__version__}, encode)
