"""Towers: features in, one L2-normalised embedding a row out."""

from tfrs_sage.towers.config import EntityTowerConfig, QueryTowerConfig
from tfrs_sage.towers.entity import EntityTower
from tfrs_sage.towers.query import QueryTower, build_backbone
from tfrs_sage.towers.tokenizer import QueryTokenizer

__all__ = [
    "EntityTower",
    "EntityTowerConfig",
    "QueryTokenizer",
    "QueryTower",
    "QueryTowerConfig",
    "build_backbone",
]
