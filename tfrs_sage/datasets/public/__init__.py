"""Adapters of public data sets: their own files to input tables, one file for each set."""

from tfrs_sage.datasets.public.esci import ESCI
from tfrs_sage.datasets.public.hm import HM
from tfrs_sage.datasets.public.movielens import MOVIELENS
from tfrs_sage.datasets.public.retailrocket import RETAILROCKET
from tfrs_sage.datasets.public.source import PublicSet, convert, download
from tfrs_sage.datasets.public.sqid import SQID
from tfrs_sage.datasets.public.wands import WANDS

SETS = {one.name: one for one in (ESCI, SQID, WANDS, MOVIELENS, RETAILROCKET, HM)}

__all__ = ["SETS", "PublicSet", "convert", "download"]
