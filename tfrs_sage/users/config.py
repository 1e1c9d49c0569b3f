"""Settings of user clustering: batch, online and retrieval."""

from typing import Annotated, Literal

from pydantic import Field

from tfrs_sage.settings import Settings

Method = Literal["ward", "complete", "kmeans"]


class ClusterConfig(Settings):
    """How a user's actions become clusters, and how clusters are retrieved with."""

    method: Method = Field("ward", description="how actions are clustered; the paper: ward")
    threshold: float = Field(
        1.0,
        ge=0,
        description="alpha: largest squared distance at which clusters merge (ward, complete)",
    )
    num_clusters: int = Field(5, ge=1, description="clusters at most (kmeans)")
    decay: float = Field(
        0.01, ge=0, description="lambda: how fast actions lose importance, per day; 0 counts them"
    )
    window_days: float = Field(90.0, gt=0, description="older actions are left out")
    max_actions: int = Field(2000, ge=1, description="newest actions of a user that are clustered")
    action_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="weight of each action word; 1 where absent, 0 leaves the action out"
    )
    online_actions: int = Field(20, ge=1, description="newest actions of the day clustered online")
    num_samples: int = Field(3, ge=1, description="medoids drawn for a retrieval")
    num_candidates: int = Field(400, ge=1, description="items retrieved for a user at most")
    duplicate_cosine: float = Field(
        0.99, ge=-1, le=1, description="nearer to an item acted on than this is a near-duplicate"
    )
