"""Users in Redis: for many servers and jobs that share them."""

from collections.abc import Iterable, Iterator
from typing import Any

from tfrs_sage.errors import InputError
from tfrs_sage.redis_client import connect
from tfrs_sage.users.store import Change, StoredUser, UserStore, chunks

# Version 1 of what is kept: other versions have other keys.
PREFIX = "tfrs-sage:users:1:"
USER = PREFIX + "user:"
BATCH = PREFIX + "as_of"
_AT_ONCE = 500
# Writes only over the value that the change was made from. Values are never empty, so '' stands
# for none.
_SWAP = """
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


class RedisStore(UserStore):
    """One key a user. A change that meets another is made again from what the other wrote.

    Redis must not evict: `maxmemory-policy noeviction`. Two runs that share a server take two
    databases (`redis://host/0`, `redis://host/1`).

    Args:
        url: as the Redis client takes it: `redis://`, `rediss://` or `unix://`.

    Raises:
        ImportError: the Redis client is not installed.
        InputError: no Redis answers at `url`.
    """

    def __init__(self, url: str) -> None:
        self._redis, self.outages, refused = connect(url)
        self._swap: Any = self._redis.register_script(_SWAP)
        try:
            self._redis.ping()
        except refused as error:
            raise InputError(
                f"A Redis server must answer at the store's address. Found: {error}. Start it, "
                "or use sqlite:///path."
            ) from error

    def get_many(self, user_ids: Iterable[str]) -> dict[str, StoredUser]:
        found = {}
        for part in chunks(user_ids, _AT_ONCE):
            for user_id, value in self._read(part).items():
                found[user_id] = StoredUser.from_json(value)
        return found

    def update_many(self, user_ids: Iterable[str], change: Change) -> dict[str, StoredUser]:
        after: dict[str, StoredUser] = {}
        for part in chunks(dict.fromkeys(user_ids), _AT_ONCE):
            # Ends: every round in which a change fails is one in which another succeeded.
            while part:
                part = self._try(part, change, after)
        return after

    def before_batch(self, as_of: float) -> Iterator[str]:
        for key in self._redis.scan_iter(match=f"{USER}*", count=1000):
            yield key.decode().removeprefix(USER)

    def batch_as_of(self) -> float | None:
        value = self._redis.get(BATCH)
        return None if value is None else float(value)

    def _set_batch_as_of(self, as_of: float) -> None:
        self._redis.set(BATCH, repr(as_of))

    def close(self) -> None:
        self._redis.close()

    def _try(self, user_ids: list[str], change: Change, after: dict[str, StoredUser]) -> list[str]:
        """One round of changes; the users that somebody else changed in between."""
        before = self._read(user_ids)
        pipeline, tried = self._redis.pipeline(transaction=False), []
        for user_id in user_ids:
            value = before.get(user_id)
            old = None if value is None else StoredUser.from_json(value)
            new = change(user_id, old)
            kept = new is not None and not new.is_empty
            after.pop(user_id, None)
            if kept and new is not None:
                after[user_id] = new
            if new is not old:
                values = [value or b"", new.to_json() if kept and new is not None else b""]
                self._swap(keys=[USER + user_id], args=values, client=pipeline)
                tried.append(user_id)
        done = pipeline.execute() if tried else []
        return [user_id for user_id, is_done in zip(tried, done, strict=True) if not is_done]

    def _read(self, user_ids: list[str]) -> dict[str, bytes]:
        values = self._redis.mget([USER + user_id for user_id in user_ids])
        pairs = zip(user_ids, values, strict=True)
        return {user_id: value for user_id, value in pairs if value is not None}
