"""The last step of every tower."""

from keras import ops

from tfrs_sage.types import Tensor


def l2_normalise(vectors: Tensor) -> Tensor:
    """Vectors of length 1, float32, same shape; a vector of zeros stays zero."""
    vectors = ops.cast(vectors, "float32")
    squares = ops.sum(vectors * vectors, axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squares, 1e-12))
