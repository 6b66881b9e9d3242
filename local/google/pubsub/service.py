"""The whole Pub/Sub: its file, its broker, and what it runs for the subscriptions that Google serves by itself."""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Self

from local.google.permissions import Binding, Need, Permissions
from local.google.pubsub.broker import Broker
from local.google.pubsub.bucket_writer import Buckets, BucketWriter
from local.google.pubsub.catalogue import Catalogue, Known
from local.google.pubsub.push import Pusher, Send, send_by_http
from local.google.pubsub.store import Message, MessageStore
from local.google.pubsub.supported import unsupported


class NoBuckets:
    """Stands for Cloud Storage where there is none."""

    def check(self, bucket: str) -> None:
        """Refuses every bucket."""
        raise unsupported(f"writing to gs://{bucket}: this Pub/Sub has no Cloud Storage")

    def write(self, bucket: str, name: str, lines: IO[bytes]) -> None:
        """Never reached."""
        raise NotImplementedError(f"{bucket} {name} {lines}")


class PubSub:
    """Usable from any thread. What is on disk goes on where an earlier one has ended, however it did."""

    def __init__(
        self,
        folder: Path,
        *,
        permissions: Permissions | None = None,
        agent: str | None = None,
        send: Send = send_by_http,
        buckets: Buckets | None = None,
    ) -> None:
        """Open what is in `folder` and deliver at once.

        Args:
            folder: is created if need be; one process at a time.
            permissions: what IAM grants on topics and subscriptions; nothing, if it is None.
            agent: the account that forwards dead letters, if it needs permissions for that.
            send: pushes.
            buckets: for subscriptions that write to a bucket, which are refused without it.
        """
        self.permissions = permissions or Permissions("")
        self._send = send
        self._buckets = buckets or NoBuckets()
        self._lock = threading.Lock()
        self._running: dict[str, Pusher | BucketWriter] = {}
        self._store = MessageStore(folder)
        self.catalogue = Catalogue(self._store, check_bucket=self._buckets.check)
        self.broker = Broker(
            self._store,
            self.catalogue,
            may=lambda permission, resource: (
                agent is None
                or self.permissions.allows(f"serviceAccount:{agent}", Need(permission=permission, resource=resource))
            ),
        )
        self.catalogue.on_change = self._changed
        for known in self.catalogue.subscriptions(""):
            self._changed(None, known)

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish one message from within this process; returns its ID when it is stored.

        Raises:
            RefusedError: there is no such topic.
        """
        return self.broker.publish(topic, [Message(data=data, attributes=attributes)])[0]

    def bindings(self, kind: str, name: str) -> Iterable[Binding]:
        """What is granted on a `topic` or `subscription` of this full name."""
        short = name.rpartition("/")[2]
        return [
            one for one in self.permissions.bindings if (one.kind, one.resource.rpartition("/")[2]) == (kind, short)
        ]

    def close(self) -> None:
        """Stop delivering, and close the file."""
        with self._lock:
            running, self._running = self._running, {}
        for one in running.values():
            one.stop()
        self.broker.close()
        for one in running.values():
            one.join()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _changed(self, before: Known | None, after: Known | None) -> None:
        if (before and _kind(before)) == (after and _kind(after)):
            return
        with self._lock:
            if before and (running := self._running.pop(before.name, None)):
                running.stop()
            if after and after.endpoint:
                self._running[after.name] = Pusher(self.broker, after.name, self._send)
            elif after and after.bucket:
                self._running[after.name] = BucketWriter(self.broker, after.name, self._buckets)


def _kind(known: Known) -> str:
    return "push" if known.endpoint else "bucket" if known.bucket else "pull"
