"""Names, types and shapes of every field; the tables in, checked rows out. No TensorFlow."""
