"""Apache Beam jobs: preprocessing of the tables and embedding of the catalogue.

Every job runs by itself, with Beam's own options: `python -m beam_pipelines.<job> --help`.
"""
