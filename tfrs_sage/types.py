"""Type names that the whole package shares."""

from typing import Any, TypeAlias

# TensorFlow and Keras ship no annotations that mypy can use, and a value may be a tensor, a
# variable or a symbolic Keras tensor: shapes and dtypes are stated in docstrings instead.
Tensor: TypeAlias = Any
