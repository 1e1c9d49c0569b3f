"""A model server that speaks TensorFlow Serving's gRPC and REST APIs, and a client for it."""

import tfrs_sage  # noqa: F401  (sets the environment that TensorFlow is imported with)
