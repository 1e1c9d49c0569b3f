"""Pictures of a few users' interests: rows of item images, and a map."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tfrs_sage.errors import InputError
from tfrs_sage.report.users_items import read_items
from tfrs_sage.report.users_map import draw_map
from tfrs_sage.report.users_rows import draw_rows
from tfrs_sage.users.clusters import UserClusters, cluster_users
from tfrs_sage.users.config import ClusterConfig
from tfrs_sage.users.protocol import UserSplit
from tfrs_sage.users.retrieval import Catalogue

USERS_AT_ONCE = 256


def typical_users(users: Iterable[UserSplit], config: ClusterConfig) -> list[str]:
    """The users with the most clusters, the median number and the fewest.

    Of equally many the one of most actions comes first, then the first by id. Fewer than three
    users are each there once.

    Args:
        users: read once; some are held at a time.
        config: of the clusters.
    """
    sizes: list[tuple[int, int, str]] = []
    held: list[UserSplit] = []

    def measure() -> None:
        for one in _clusters(held, config, keep_members=False):
            sizes.append((-len(one.clusters), -one.num_actions, one.user_id))
        held.clear()

    for user in users:
        held.append(user)
        if len(held) >= USERS_AT_ONCE:
            measure()
    measure()
    if not sizes:
        return []
    sizes.sort()
    fewest = min(one for one in sizes if one[0] == sizes[-1][0])
    return list(dict.fromkeys(one[2] for one in (sizes[0], sizes[len(sizes) // 2], fewest)))


def write_pictures(
    users: Iterable[UserSplit],
    wanted: Sequence[str],
    catalogue: Catalogue,
    config: ClusterConfig,
    input: str,
    folder: Path,
) -> dict[str, list[Path]]:
    """Two PNGs of each wanted user: `<user>-clusters.png` and `<user>-map.png`.

    Args:
        users: of whom the wanted ones are clustered; read once.
        wanted: ids of users.
        catalogue: with every item that they acted on.
        config: of the clusters.
        input: folder of the tables, for titles and images.
        folder: of the PNGs.

    Returns:
        The files of each user.

    Raises:
        InputError: a wanted user is not among the users.
    """
    chosen = {one.user_id: one for one in users if one.user_id in set(wanted)}
    if missing := [one for one in wanted if one not in chosen]:
        raise InputError(
            f"A user to draw must have actions before and in the split. Received: {missing[0]!r}, "
            "who has not. Take another one, other splits, or more of --max-users."
        )
    found = _clusters([chosen[one] for one in wanted], config, keep_members=True)
    members = {item for user in found for one in user.clusters for item in one.member_ids}
    items = read_items(input, members)
    vectors: Mapping = {item: catalogue.vectors[catalogue.rows[item]] for item in members}
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for user in found:
        name = quote(user.user_id, safe="")
        paths = [folder / f"{name}-clusters.png", folder / f"{name}-map.png"]
        draw_rows(user, items, paths[0])
        draw_map(user, vectors, items, paths[1])
        written[user.user_id] = paths
    return written


def _clusters(
    users: Sequence[UserSplit], config: ClusterConfig, keep_members: bool
) -> list[UserClusters]:
    """The clusters of each user's past, each at the user's own moment."""
    return [
        cluster_users([(one.user_id, one.past)], config, one.now, keep_members)[0] for one in users
    ]
