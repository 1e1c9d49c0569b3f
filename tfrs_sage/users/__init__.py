"""Many embeddings for one user: Ward clusters, their medoids, importances, sampling (numpy)."""

from tfrs_sage.users.clustering import ward, ward_many
from tfrs_sage.users.clusters import Actions, Cluster, UserClusters, cluster_user, cluster_users
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.medoid import importance, medoids, medoids_many
from tfrs_sage.users.sampling import sample_medoids

__all__ = [
    "Actions",
    "Cluster",
    "ClusterConfig",
    "UserClusters",
    "cluster_user",
    "cluster_users",
    "importance",
    "medoids",
    "medoids_many",
    "sample_medoids",
    "ward",
    "ward_many",
]
