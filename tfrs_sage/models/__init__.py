"""Towers and tasks as one trainable model."""

from tfrs_sage.models.retrieval import RetrievalModel

__all__ = ["RetrievalModel"]
