"""Towers: features in, one L2-normalised embedding a row out."""

from tfrs_sage.towers.config import EntityTowerConfig, QueryTowerConfig
from tfrs_sage.towers.entity import EntityTower
from tfrs_sage.towers.query import QueryTower, build_backbone
from tfrs_sage.towers.tokenizer import QueryTokenizer
from tfrs_sage.towers.unified import UnifiedTower, unified_widths

__all__ = [
    "EntityTower",
    "EntityTowerConfig",
    "QueryTokenizer",
    "QueryTower",
    "QueryTowerConfig",
    "UnifiedTower",
    "build_backbone",
    "unified_widths",
]
