"""Keras layers that the towers are made of."""

from tfrs_sage.layers.feature_transformer import FeatureTransformer
from tfrs_sage.layers.hash_embedding import HashEmbeddingBag
from tfrs_sage.layers.shared_mlp import SharedMLP

__all__ = ["FeatureTransformer", "HashEmbeddingBag", "SharedMLP"]
