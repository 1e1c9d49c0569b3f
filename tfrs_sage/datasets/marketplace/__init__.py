"""A seeded synthetic shop as input tables: products, pins, boards, engagements, pictures."""

from tfrs_sage.datasets.marketplace.write import write_marketplace

__all__ = ["write_marketplace"]
