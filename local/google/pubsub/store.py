"""Messages on disk, and which subscription still has to acknowledge which.

Everything is in one SQLite file in WAL mode, so that it survives the death of the process at any moment, and memory stays flat. What
is published is one transaction with its deliveries. A storage server with an outbox of its own publishes from there until it succeeds;
that may publish twice, which at-least-once delivery allows.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 10_000_000
"""Of the messages that are leased at once, unless the first alone is larger."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, config BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscriptions (
    key INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, config BLOB NOT NULL, used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, published REAL NOT NULL, data BLOB NOT NULL, attributes TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    message INTEGER NOT NULL, subscription INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, PRIMARY KEY (message, subscription)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due ON deliveries (subscription, due);
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a publisher sends."""

    data: bytes = b""
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One delivery that may be acknowledged, of a message with an `id` to a subscription with a `key`."""

    key: int
    id: int
    attempt: int
    """Counted from 1. A lease ends when the next attempt begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message that a subscriber works on."""

    lease: Lease
    message: Message
    published: float
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """The pause between two attempts, in seconds; it doubles from `minimum` up to `maximum`."""

    minimum: float = 0
    maximum: float = 0

    def after(self, attempt: int) -> float:
        """The pause after the n-th attempt, counted from 1."""
        return min(self.minimum * 2.0 ** min(attempt - 1, 60), self.maximum)


class MessageStore:
    """Every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`, which is created if need be; one process at a time."""
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._file = sqlite3.connect(folder / "messages.sqlite", check_same_thread=False, isolation_level=None)
        self._file.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_SCHEMA}")

    def close(self) -> None:
        """Close the file; the store cannot be used after."""
        with self._lock:
            self._file.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Everything in the block takes effect, or nothing does."""
        with self._lock:
            if self._file.in_transaction:
                yield
                return
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise

    # Topics and subscriptions, whose configurations are serialised messages of the API.

    def topics(self) -> dict[str, bytes]:
        """The configurations of all topics by name."""
        with self._lock:
            return dict(self._file.execute("SELECT name, config FROM topics"))

    def save_topic(self, name: str, config: bytes) -> None:
        """Create or replace a topic."""
        with self.transaction():
            self._file.execute("INSERT OR REPLACE INTO topics VALUES (?, ?)", (name, config))

    def delete_topic(self, name: str) -> None:
        """Delete a topic; what it has published stays with its subscriptions."""
        with self.transaction():
            self._file.execute("DELETE FROM topics WHERE name = ?", (name,))

    def subscriptions(self) -> list[tuple[int, bytes, float]]:
        """The key, the configuration and the time of the last use of each subscription."""
        with self._lock:
            return list(self._file.execute("SELECT key, config, used FROM subscriptions"))

    def save_subscription(self, name: str, config: bytes) -> int:
        """Create or replace a subscription; returns its key."""
        with self.transaction():
            row: tuple[int] = self._file.execute(
                "INSERT INTO subscriptions (name, config, used) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET config = excluded.config RETURNING key",
                (name, config, time.time()),
            ).fetchone()
        return row[0]

    def delete_subscription(self, key: int) -> None:
        """Delete a subscription with all that waits in it."""
        with self.transaction():
            self._file.execute("DELETE FROM subscriptions WHERE key = ?", (key,))
            self._file.execute("DELETE FROM deliveries WHERE subscription = ?", (key,))
            self._drop_orphans()

    def use(self, key: int, now: float) -> None:
        """Remember that a subscription is in use."""
        with self.transaction():
            self._file.execute("UPDATE subscriptions SET used = ? WHERE key = ?", (now, key))

    # Messages.

    def publish(self, messages: Iterable[Message], keys: Sequence[int], now: float) -> list[int]:
        """Store messages for subscriptions, all or none; without a subscription they are lost, as at Google. Returns their IDs."""
        ids: list[int] = []
        with self.transaction():
            for message in messages:
                cursor = self._file.execute(
                    "INSERT INTO messages (published, data, attributes) VALUES (?, ?, ?)",
                    (now, message.data, json.dumps(dict(message.attributes))),
                )
                identifier = cursor.lastrowid or 0
                ids.append(identifier)
                # A subscription may have been deleted meanwhile.
                kept = self._file.executemany(
                    "INSERT INTO deliveries (message, subscription, due)"
                    " SELECT ?, key, ? FROM subscriptions WHERE key = ?",
                    [(identifier, now, key) for key in keys],
                ).rowcount
                if kept <= 0:
                    self._file.execute("DELETE FROM messages WHERE id = ?", (identifier,))
        return ids

    def lease(self, key: int, limit: int, *, now: float, seconds: float, backoff: Backoff) -> list[Delivery]:
        """Messages that are due, the longest due first; unless acknowledged they are due again in `seconds` and the backoff."""
        with self.transaction():
            deliveries = list(self._due(key, limit, now))
            self._file.executemany(
                "UPDATE deliveries SET attempt = ?, leased = 1, due = ? WHERE message = ? AND subscription = ?",
                [
                    (lease.attempt, now + seconds + backoff.after(lease.attempt), lease.id, key)
                    for lease in (delivery.lease for delivery in deliveries)
                ],
            )
        return deliveries

    def _due(self, key: int, limit: int, now: float) -> Generator[Delivery]:
        size = 0
        for identifier, attempt, published, data, attributes in self._file.execute(
            "SELECT message, attempt, published, data, attributes FROM deliveries JOIN messages ON id = message"
            " WHERE subscription = ? AND due <= ? ORDER BY due LIMIT ?",
            (key, now, limit),
        ):
            size += len(data)
            if size > MOST_BYTES and size > len(data):
                return
            yield Delivery(
                lease=Lease(key=key, id=identifier, attempt=attempt + 1),
                message=Message(data=data, attributes=json.loads(attributes)),
                published=published,
            )

    def acknowledge(self, leases: Iterable[Lease], *, leased: bool = True) -> None:
        """These are done. A lease after which another began does nothing; with `leased`, one that was refused neither."""
        with self.transaction():
            for lease in leases:
                self._file.execute(
                    "DELETE FROM deliveries WHERE message = ? AND subscription = ? AND attempt = ? AND leased >= ?",
                    (lease.id, lease.key, lease.attempt, leased),
                )
                self._file.execute(
                    "DELETE FROM messages WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = id)",
                    (lease.id,),
                )

    def postpone(self, leases: Iterable[Lease], *, until: float, backoff: Backoff, leased: bool) -> None:
        """Let these be due at `until` and the backoff; they are no longer `leased` after a refusal."""
        with self.transaction():
            self._file.executemany(
                "UPDATE deliveries SET due = ?, leased = ?"
                " WHERE message = ? AND subscription = ? AND attempt = ? AND leased = 1",
                [
                    (until + backoff.after(lease.attempt), leased, lease.id, lease.key, lease.attempt)
                    for lease in leases
                ],
            )

    def held(self, leases: Iterable[Lease], *, leased: bool = True) -> list[Lease]:
        """Those that were not acknowledged and after which no other began; with `leased`, were not refused either."""
        with self._lock:
            return [
                lease
                for lease in leases
                if self._file.execute(
                    "SELECT 1 FROM deliveries WHERE message = ? AND subscription = ? AND attempt = ? AND leased >= ?",
                    (lease.id, lease.key, lease.attempt, leased),
                ).fetchone()
            ]

    def next_due(self, key: int) -> float | None:
        """When the next message of a subscription is due, in seconds since 1970; None if it has none."""
        with self._lock:
            return self._file.execute("SELECT min(due) FROM deliveries WHERE subscription = ?", (key,)).fetchone()[0]

    def exhausted(self, key: int, attempts: int, now: float, limit: int = 100) -> list[Delivery]:
        """Messages that are due and have been delivered so many times, each with its last lease."""
        with self._lock:
            rows = self._file.execute(
                "SELECT message, attempt, published, data, attributes FROM deliveries JOIN messages ON id = message"
                " WHERE subscription = ? AND due <= ? AND attempt >= ? ORDER BY due LIMIT ?",
                (key, now, attempts, limit),
            ).fetchall()
        return [
            Delivery(
                lease=Lease(key=key, id=identifier, attempt=attempt),
                message=Message(data=data, attributes=json.loads(attributes)),
                published=published,
            )
            for identifier, attempt, published, data, attributes in rows
        ]

    def hurry(self, key: int, attempts: int, now: float) -> None:
        """Let messages that were refused so many times be due now: after the last attempt nothing waits for a backoff."""
        with self.transaction():
            self._file.execute(
                "UPDATE deliveries SET due = ? WHERE subscription = ? AND attempt >= ? AND leased = 0 AND due > ?",
                (now, key, attempts, now),
            )

    def release(self, key: int, now: float) -> None:
        """End all leases of a subscription, whose subscriber has died with an earlier process."""
        with self.transaction():
            self._file.execute(
                "UPDATE deliveries SET due = ?, leased = 0 WHERE subscription = ? AND leased = 1", (now, key)
            )

    def expire(self, key: int, published_before: float) -> None:
        """Drop what a subscription has kept for too long."""
        with self.transaction():
            dropped = self._file.execute(
                "DELETE FROM deliveries WHERE subscription = ? AND message IN (SELECT id FROM messages"
                " WHERE id < coalesce((SELECT min(id) FROM messages WHERE published >= ?), 1 << 62))",
                (key, published_before),
            ).rowcount
            if dropped:
                self._drop_orphans()

    def count(self, key: int) -> int:
        """How many messages a subscription has not acknowledged."""
        with self._lock:
            return self._file.execute("SELECT count(*) FROM deliveries WHERE subscription = ?", (key,)).fetchone()[0]

    def _drop_orphans(self) -> None:
        self._file.execute("DELETE FROM messages WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE message = id)")
