import tfrs_sage  # noqa: F401  (before TensorFlow: it sets what TensorFlow Recommenders needs)
