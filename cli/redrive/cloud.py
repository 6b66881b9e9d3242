"""Reads, republishes and acknowledges dead letters, and republishes images that stay in the inbound bucket.

A message is published to its topic first and then acknowledged in the dead-letter subscription. An interruption in
between leaves a message twice, which both functions accept; a message is never lost.
"""

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    InternalServerError,
    ServiceUnavailable,
    Unknown,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.retry import DEFAULT_RETRY
from google.pubsub_v1 import PublisherClient, PubsubMessage, ReceivedMessage, SubscriberClient

from cli.redrive.model import ATTEMPTS, FUNCTIONS, DeadLetter, EventPath, Found, Row, Sent, StrandedImage, notification
from cli.redrive.reasons import About, Image, LogUnreadableError, newest_problems
from console.progress import counting
from console.transfer import TransferError, split_uri, storage_client
from inspection.environment import PUBSUB_EMULATOR
from inspection.push import WHAT_COMES

_BATCH = 100
_PULL_SECONDS = 3
"""How long a pull waits for a message before :meth:`LineClient._pull` asks whether the subscription is empty."""
_LEASE_SECONDS = 600
"""The longest lease that Pub/Sub allows; no other client receives a leased message."""
_TIMEOUT_SECONDS = 10
"""The time-out of a request, retries included."""
_RETRY = Retry(
    predicate=if_exception_type(Aborted, InternalServerError, ServiceUnavailable, Unknown),
    maximum=2.0,
    timeout=_TIMEOUT_SECONDS,
)
_PUBSUB_RETRY: dict[str, Any] = {"timeout": _TIMEOUT_SECONDS, "retry": _RETRY}
_STORAGE_RETRY: dict[str, Any] = {"timeout": _TIMEOUT_SECONDS, "retry": DEFAULT_RETRY.with_timeout(_TIMEOUT_SECONDS)}  # pyright: ignore[reportUnknownVariableType]
_INBOUND_FIELDS = "items(name,bucket,generation,size,contentType,contentEncoding,metadata,timeCreated),nextPageToken"
_LOG_BEFORE = timedelta(days=1)
"""A dead letter's attempts lie at most so far before it: a hundred, ten minutes apart, take 17 hours."""
_REASON_START = 400
_REASON_END = 300
"""Characters that are shown of a longer one."""
Item = TypeVar("Item")
NOTHING_LOST = "What was not acknowledged stays, so the same command can be run again."
CHECK_NETWORK = "Check the network, and for the local cloud that it still runs."


class LineClient:
    """The two paths of events and the inbound bucket of one line."""

    def __init__(self, outputs: Mapping[str, Any], *, older_than: timedelta) -> None:
        """Make the clients; no request is sent yet.

        Args:
            outputs: of the Pulumi program.
            older_than: images that stay longer in the inbound bucket are stranded.

        Raises:
            TransferError: an output is missing, or there are no credentials.
        """
        try:
            self._paths = [
                EventPath(name=name, topic=outputs["topics"][name], dead_letters=outputs["deadLetters"][name])
                for name in FUNCTIONS
            ]
        except KeyError as error:
            raise TransferError(f"the line has no output {error}: deploy this version first (`pulumi up`)") from error
        self._bucket, _ = split_uri(outputs["inboundBucket"])
        self._storage = storage_client()
        try:
            self._subscriber, self._publisher = SubscriberClient(), PublisherClient()
        except GoogleAuthError as error:
            raise TransferError(
                f"cannot authenticate to Pub/Sub ({error}); run `gcloud auth application-default login`"
            ) from error
        self._started = datetime.now(UTC)
        self._older_than = older_than

    @property
    def project(self) -> str:
        """Of the topics."""
        return self._paths[0].topic.split("/")[1]

    @property
    def addresses(self) -> str:
        """The addresses of the services, for an error."""
        return f"Pub/Sub at {self._pubsub_address}, Cloud Storage at {self._storage.api_endpoint}."

    @property
    def _pubsub_address(self) -> str:
        # The client uses the emulator's address, but does not expose it.
        return os.environ.get(PUBSUB_EMULATOR) or self._subscriber.transport.host

    def find(self, max_rows: int) -> Found:
        """Find dead letters and stranded images. Changes nothing: each dead letter is returned at the end."""
        found = Found(max_kept=max_rows)
        dead_images: set[Image] = set()
        with counting("Looking") as progress:
            for path in self._paths:
                with self._dead_letters(path) as letters:
                    for letter in letters:
                        found.add(letter)
                        if letter.problem is not None:
                            found.malformed += 1
                        elif letter.image is not None:
                            dead_images.add(letter.image)
                        progress()
            for stranded in self._stranded_images(dead_images):
                found.add(stranded)
                progress()
        return found

    def explain(self, found: Found) -> tuple[list[Row], str | None]:
        """A row with the reason for each kept item, and why the functions' log could not be read (None: it could)."""
        asked = {one.about: one.since for one in found.first if one.about is not None}
        problems: dict[About, str] = {}
        unreadable = None
        try:
            for batch in _batches(asked):
                since = min(asked[about] for about in batch) - _LOG_BEFORE
                problems |= newest_problems(self.project, set(batch), since=since)
        except LogUnreadableError as error:
            unreadable = str(error)
        lines = [
            Row(
                where=one.where,
                image=one.image[0] if one.image else "unknown",
                since=one.since,
                why=self._why(one, _shortened(problems.get(one.about)) if one.about else None, read=unreadable is None),
            )
            for one in found.first
        ]
        return lines, unreadable

    def send(self, found: Found, *, discard_malformed: bool) -> Sent:
        """Send again what was found.

        Newer dead letters stay: an image that still fails must not circulate for ever.
        """
        sent = Sent()
        dead_images: set[Image] = set()
        with counting("Sending again", found.counts.total()) as progress:
            for path in self._paths:
                sent.left += found.counts[path.where]
                with self._dead_letters(path) as letters:
                    for batch in _batches(islice(letters, found.counts[path.where])):
                        old = [letter for letter in batch if letter.since <= self._started]
                        readable = [letter for letter in old if letter.problem is None]
                        self._publish(path.topic, [letter.again() for letter in readable])
                        malformed = [letter for letter in old if letter.problem is not None]
                        done = readable + (malformed if discard_malformed else [])
                        self._acknowledge(path, done)
                        dead_images.update(letter.image for letter in readable if letter.image is not None)
                        sent.sent += len(readable)
                        sent.discarded += len(done) - len(readable)
                        sent.left -= len(done)
                        for _ in batch:
                            progress()
            images = self._paths[0]
            for batch in _batches(self._stranded_images(dead_images)):
                self._publish(images.topic, [notification(stranded.blob) for stranded in batch])
                sent.sent += len(batch)
                for _ in batch:
                    progress()
        return sent

    @contextmanager
    def _dead_letters(self, path: EventPath) -> Generator[Iterator[DeadLetter]]:
        """Each dead letter of a path, once; what the block has not acknowledged is given back at its end.

        Giving back counts as a failed delivery, which has no consequence: this subscription has no dead letters of its
        own. A process that is killed gives back after :data:`_LEASE_SECONDS`. A look that takes longer than that counts
        twice what comes again.
        """
        leased: list[str] = []

        def letters() -> Iterator[DeadLetter]:
            while pulled := self._pull(path):
                ids = [received.ack_id for received in pulled]
                leased.extend(ids)  # first of all: whatever interrupts the next line, they are given back
                self._lease(path, ids, _LEASE_SECONDS)
                for received in pulled:
                    yield DeadLetter.read(path, received)

        try:
            yield letters()
        finally:
            # Also those that were acknowledged: Pub/Sub ignores what is not leased any more.
            for ids in _batches(leased):
                self._lease(path, ids, 0)

    def _pull(self, path: EventPath) -> list[ReceivedMessage]:
        """Up to a batch of messages; empty only if the subscription is empty.

        Raises:
            TransferError: Pub/Sub does not answer.
        """
        request = {"subscription": path.dead_letters, "max_messages": _BATCH}
        try:
            return list(self._subscriber.pull(request, timeout=_PULL_SECONDS, retry=_RETRY).received_messages)
        except DeadlineExceeded:
            # A pull waits for a message, so that this may be an empty subscription or a Pub/Sub that is silent.
            pass
        try:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                return list(
                    self._subscriber.pull(request | {"return_immediately": True}, **_PUBSUB_RETRY).received_messages
                )
        except DeadlineExceeded as error:
            raise TransferError(
                f"Pub/Sub at {self._pubsub_address} did not answer within {_TIMEOUT_SECONDS} s whether "
                f"{path.dead_letters} holds messages. {NOTHING_LOST} {CHECK_NETWORK}"
            ) from error

    def _lease(self, path: EventPath, ack_ids: list[str], seconds: int) -> None:
        self._subscriber.modify_ack_deadline(
            subscription=path.dead_letters, ack_ids=ack_ids, ack_deadline_seconds=seconds, **_PUBSUB_RETRY
        )

    def _acknowledge(self, path: EventPath, letters: list[DeadLetter]) -> None:
        if letters:
            self._subscriber.acknowledge(
                subscription=path.dead_letters, ack_ids=[letter.received.ack_id for letter in letters], **_PUBSUB_RETRY
            )

    def _publish(self, topic: str, messages: list[PubsubMessage]) -> None:
        """Publish, and return when Pub/Sub has stored the messages."""
        if messages:
            self._publisher.publish(topic=topic, messages=messages, **_PUBSUB_RETRY)

    def _stranded_images(self, dead_images: set[Image]) -> Iterator[StrandedImage]:
        """Images that have stayed too long in the inbound bucket, without those that a dead letter names."""
        latest = self._started - self._older_than
        for blob in self._storage.list_blobs(self._bucket, fields=_INBOUND_FIELDS, **_STORAGE_RETRY):
            since = blob.time_created
            if since is not None and since <= latest:
                stranded = StrandedImage(blob=blob, since=since)
                if stranded.image not in dead_images:
                    yield stranded

    def _why(self, one: DeadLetter | StrandedImage, logged: str | None, *, read: bool) -> str:
        """The reason, from the message and from `logged`, the last line in the log if the log could be `read`."""
        if isinstance(one, StrandedImage):
            lost = "it arrived before the notification existed, its message was lost, or Pub/Sub still retries it"
            return f"no dead letter names it: {f'logged last, {logged}' if logged else lost}"
        if one.problem is not None:
            return f"malformed: {one.problem}"
        attempts = one.received.message.attributes.get(ATTEMPTS, "all")
        function = one.path.function
        silent = (
            f", and {function} logged nothing about it: see whether it starts (its newest log lines; memory) and whether "
            "pushes reach it (roles/run.invoker of the account that pushes)"
        )
        why = f": {logged}" if logged else silent if read else ", its log says why"
        failed = f"{function} failed in {attempts} attempts{why}"
        if one.image is not None and not self._is_there(one.image):
            return (
                f"the image has been moved, replaced or deleted since, sending again just clears the letter; {failed}"
            )
        return failed

    def _is_there(self, image: Image) -> bool:
        name, generation = image
        return self._storage.bucket(self._bucket).blob(name, generation=generation).exists(**_STORAGE_RETRY)


def _shortened(text: str | None) -> str | None:
    """The reason without its middle: a function logs first what it did, and last what to check."""
    text = text and text.removesuffix(WHAT_COMES).rstrip()
    if text is None or len(text) <= _REASON_START + _REASON_END:
        return text
    return f"{text[:_REASON_START]} ... {text[-_REASON_END:]}"


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
