"""Many embeddings for one user: Ward clusters, their medoids, importances, sampling (numpy)."""

from tfrs_sage.users.clustering import ward
from tfrs_sage.users.medoid import importance, medoids
from tfrs_sage.users.sampling import sample_medoids

__all__ = ["importance", "medoids", "sample_medoids", "ward"]
