"""Nearest neighbours by dot product: numpy in, ids and scores out.

Every kind answers the same calls (`Index`): search, filters, upserts, deletions, files.
`build_index` makes one, `load_index` reads one back. Brute force is the truth that the others are
measured against.
"""

from tfrs_sage.index.base import Index
from tfrs_sage.index.build import KINDS, build_index, load_index
from tfrs_sage.index.embeddings import read_embeddings
from tfrs_sage.index.prefix import cut_to_prefix

__all__ = ["KINDS", "Index", "build_index", "cut_to_prefix", "load_index", "read_embeddings"]
