"""Retrieval for shopping and visual discovery, from tables to served answers.

ItemSage, OmniSearchSage and PinnerSage on TensorFlow Recommenders and Keras 3.
Importing this package sets `TF_USE_LEGACY_KERAS=1`, which TensorFlow
Recommenders needs and which must be set before `tf.keras` is first used; the models are
Keras 3 all the same (`import keras`).
"""

import os
import sys
from types import ModuleType

__version__ = "0.1.0"

# `tf.keras` is chosen when it is first used, not when TensorFlow is imported: until then the
# variable can still be set, so the order of imports does not matter.
_tf_keras = vars(sys.modules["tensorflow"]).get("keras") if "tensorflow" in sys.modules else None
# (`type` and not an attribute: reading any attribute of the lazy loader loads it.)
if type(_tf_keras) is ModuleType and _tf_keras.__name__.startswith("keras."):
    raise ImportError(
        "tfrs_sage must be imported before tf.keras is first used, because TensorFlow Recommenders "
        "needs the Keras 2 of the tf-keras package there. Found: tf.keras is Keras 3 already, and "
        f"TF_USE_LEGACY_KERAS={os.environ.get('TF_USE_LEGACY_KERAS')!r}. Import tfrs_sage first, "
        "or set TF_USE_LEGACY_KERAS=1 in the environment; `import keras` stays Keras 3."
    )
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
