"""`inspection redrive`: what waits for a person, among the dead letters or in the inbound bucket, and sending it again.

A message is published to its topic first, and only then acknowledged among the dead letters: whatever interrupts that
leaves a message twice, which both functions take, and never none.
"""

import json
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast

import typer
from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    Forbidden,
    GoogleAPIError,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
    Unknown,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.pubsub_v1 import PublisherClient, PubsubMessage, ReceivedMessage, SubscriberClient
from requests import RequestException
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.redrive.reasons import About, Image, LogUnreadableError, newest_problems
from console.progress import counting
from console.target import outputs_of
from console.transfer import TransferError, split_uri, storage_client
from inspection.environment import PUBSUB_EMULATOR
from inspection.message import MalformedMessageError, NewImage, Prediction
from inspection.push import REPEATED, WHAT_COMES

FUNCTIONS = {"images": "predict", "predictions": "move"}
"""Each path of events, and the function that its messages are for."""

INBOUND = "inbound bucket"

_ADDED = "CloudPubSubDeadLetter"
"""How the attributes begin that Pub/Sub gives a dead letter
(https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic)."""
_ATTEMPTS = "CloudPubSubDeadLetterSourceDeliveryCount"

_BATCH = 100
_PULL_SECONDS = 3
"""A subscription answers sooner where it has a message; one that is silent for so long is asked whether it has none."""
_LEASE_SECONDS = 600
"""Pub/Sub's longest: for this time nobody else is given a message that is being looked at."""
_SECONDS = 10
"""For the answer to any request, and for trying one again while nobody can be reached."""
_RETRY = Retry(
    predicate=if_exception_type(Aborted, InternalServerError, ServiceUnavailable, Unknown),
    maximum=2.0,
    timeout=_SECONDS,
)
_PATIENCE: dict[str, Any] = {"timeout": _SECONDS, "retry": _RETRY}
_STORAGE_PATIENCE: dict[str, Any] = {"timeout": _SECONDS, "retry": DEFAULT_RETRY.with_timeout(_SECONDS)}  # pyright: ignore[reportUnknownVariableType]
_INBOUND_FIELDS = "items(name,bucket,generation,size,contentType,contentEncoding,metadata,timeCreated),nextPageToken"

_LOG_BEFORE = timedelta(days=1)
"""A dead letter's attempts lie at most so far before it: a hundred, ten minutes apart, take 17 hours."""
_REASON_START, _REASON_END = 400, 300
"""Characters that are shown of a longer one."""

Item = TypeVar("Item")

_UNSEEN = (
    "(What another redrive is looking at does not show; it comes back when that ends, or, if that was killed, within ten "
    "minutes.)"
)
_STAYS = "What was not acknowledged stays, so the same command can be run again."
_REACH = "Check the network, and for the local cloud that it still runs."
_ROLES = (
    "It needs roles/pubsub.subscriber on the dead letters' subscriptions, roles/pubsub.publisher on the topics and "
    "roles/storage.objectViewer on the inbound bucket."
)
_LOG_ROLE = "Reading the functions' log needs roles/logging.viewer on the project."


@dataclass(frozen=True, kw_only=True)
class Path:
    """One path of events."""

    name: str
    topic: str
    dead_letters: str

    @property
    def function(self) -> str:
        """What its messages are for."""
        return FUNCTIONS[self.name]

    @property
    def where(self) -> str:
        """What its dead letters are counted under."""
        return f"dead letter for {self.function}"


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter that is leased to this process."""

    path: Path
    received: ReceivedMessage
    image: Image | None
    """None where the message does not say."""
    problem: str | None
    """Why no function can read the message; None where it can."""

    @classmethod
    def read(cls, path: Path, received: ReceivedMessage) -> "Letter":
        """The message as its function would read it."""
        message = received.message
        try:
            if path.function == "predict":
                told = NewImage.parse(_sent_attributes(message), message.data)
            else:
                told = Prediction.from_json(message.data)
        except MalformedMessageError as error:
            name = message.attributes.get("objectId")
            return cls(path=path, received=received, image=(name, 0) if name else None, problem=str(error))
        return cls(path=path, received=received, image=(told.image_name, told.generation), problem=None)

    @property
    def where(self) -> str:
        """What it is counted under."""
        return self.path.where

    @property
    def about(self) -> About | None:
        """What the functions' log may tell more of."""
        return None if self.image is None or self.problem is not None else (self.path.function, self.image)

    @property
    def since(self) -> datetime:
        """When it became a dead letter."""
        return cast("datetime", self.received.message.publish_time)

    def again(self) -> PubsubMessage:
        """The message as it was sent at first, but that it says so."""
        message = self.received.message
        attributes = _sent_attributes(message) | {REPEATED: "true"}
        return PubsubMessage(data=message.data, attributes=attributes, ordering_key=message.ordering_key)


def _sent_attributes(message: PubsubMessage) -> dict[str, str]:
    """Without those that Pub/Sub gave the dead letter."""
    return {key: value for key, value in message.attributes.items() if not key.startswith(_ADDED)}


@dataclass(frozen=True, kw_only=True)
class Lying:
    """A picture that lies in the inbound bucket for too long."""

    blob: storage.Blob
    since: datetime

    where = INBOUND

    @property
    def image(self) -> Image:
        """Its name and generation."""
        return str(self.blob.name), self.blob.generation or 0

    @property
    def about(self) -> About:
        """What the functions' log may tell more of."""
        return None, self.image


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One line of what is shown."""

    where: str
    image: str
    since: datetime
    why: str


@dataclass(kw_only=True)
class Found:
    """What waits: all of it counted, the first of it kept."""

    most: int
    """So many are kept at most."""
    first: list[Letter | Lying] = field(default_factory=list["Letter | Lying"])
    counts: Counter[str] = field(default_factory=Counter[str])
    malformed: int = 0

    def add(self, one: Letter | Lying) -> None:
        """One more."""
        self.counts[one.where] += 1
        if len(self.first) < self.most:
            self.first.append(one)

    @property
    def sendable(self) -> int:
        """What a function can read."""
        return self.counts.total() - self.malformed


@dataclass(kw_only=True)
class Sent:
    """What became of it."""

    sent: int = 0
    discarded: int = 0
    left: int = 0
    """Malformed and not to be discarded, only just arrived, or in another client's hands meanwhile."""


class Line:
    """The two paths of events and the inbound bucket of one line."""

    def __init__(self, outputs: Mapping[str, Any], *, older_than: timedelta) -> None:
        """Nothing is asked of the cloud yet.

        Args:
            outputs: of the Pulumi program.
            older_than: what lies longer in the inbound bucket counts as waiting.

        Raises:
            TransferError: an output is missing, or there are no credentials.
        """
        try:
            self._paths = [
                Path(name=name, topic=outputs["topics"][name], dead_letters=outputs["deadLetters"][name])
                for name in FUNCTIONS
            ]
        except KeyError as error:
            raise TransferError(f"the line has no output {error}: deploy this version first (`pulumi up`)") from error
        self._bucket, _ = split_uri(outputs["inboundBucket"])
        self._storage = storage_client()
        try:
            self._subscriber, self._publisher = SubscriberClient(), PublisherClient()
        except GoogleAuthError as error:
            raise TransferError(f"no way into Pub/Sub ({error}); `gcloud auth application-default login`") from error
        self._started = datetime.now(UTC)
        self._older_than = older_than

    @property
    def project(self) -> str:
        """Of the topics."""
        return self._paths[0].topic.split("/")[1]

    @property
    def addresses(self) -> str:
        """Who is asked."""
        return f"Pub/Sub is asked at {self._pubsub_address}, Cloud Storage at {self._storage.api_endpoint}."

    @property
    def _pubsub_address(self) -> str:
        # The client goes there, but does not tell so.
        return os.environ.get(PUBSUB_EMULATOR) or self._subscriber.transport.host

    def look(self, shown: int) -> Found:
        """What waits. Changes nothing: each dead letter is given back at the end."""
        found = Found(most=shown)
        told_of: set[Image] = set()
        with counting("Looking") as progress:
            for path in self._paths:
                with self._dead_letters(path) as letters:
                    for letter in letters:
                        found.add(letter)
                        if letter.problem is not None:
                            found.malformed += 1
                        elif letter.image is not None:
                            told_of.add(letter.image)
                        progress()
            for lying in self._lying(told_of):
                found.add(lying)
                progress()
        return found

    def explain(self, found: Found) -> tuple[list[Waiting], str | None]:
        """The first of what waits, each with its reason; and why the functions' log could not be read for that, if so."""
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
            Waiting(
                where=one.where,
                image=one.image[0] if one.image else "unknown",
                since=one.since,
                why=self._why(one, _shortened(problems.get(one.about)) if one.about else None, read=unreadable is None),
            )
            for one in found.first
        ]
        return lines, unreadable

    def send(self, found: Found, *, discard_malformed: bool) -> Sent:
        """Send again as much as was found.

        What has become a dead letter since then stays: a picture that still cannot be worked on must not go round for
        ever.
        """
        sent = Sent()
        told_of: set[Image] = set()
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
                        told_of.update(letter.image for letter in readable if letter.image is not None)
                        sent.sent += len(readable)
                        sent.discarded += len(done) - len(readable)
                        sent.left -= len(done)
                        for _ in batch:
                            progress()
            images = self._paths[0]
            for batch in _batches(self._lying(told_of)):
                self._publish(images.topic, [_notification(lying.blob) for lying in batch])
                sent.sent += len(batch)
                for _ in batch:
                    progress()
        return sent

    @contextmanager
    def _dead_letters(self, path: Path) -> Generator[Iterator[Letter]]:
        """Each dead letter of a path, once; what the block has not acknowledged is given back at its end.

        Giving back counts as a failed delivery, which has no consequence: this subscription has no dead letters of its
        own. A process that is killed gives back after :data:`_LEASE_SECONDS`. A look that takes longer than that counts
        twice what comes again.
        """
        leased: list[str] = []

        def letters() -> Iterator[Letter]:
            while pulled := self._pull(path):
                ids = [received.ack_id for received in pulled]
                leased.extend(ids)  # first of all: whatever interrupts the next line, they are given back
                self._lease(path, ids, _LEASE_SECONDS)
                for received in pulled:
                    yield Letter.read(path, received)

        try:
            yield letters()
        finally:
            # Also those that were acknowledged: Pub/Sub ignores what is not leased any more.
            for ids in _batches(leased):
                self._lease(path, ids, 0)

    def _pull(self, path: Path) -> list[ReceivedMessage]:
        """Some; none only where Pub/Sub says that there are none.

        Raises:
            TransferError: it says nothing.
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
                    self._subscriber.pull(request | {"return_immediately": True}, **_PATIENCE).received_messages
                )
        except DeadlineExceeded as error:
            raise TransferError(
                f"Pub/Sub at {self._pubsub_address} did not say within {_SECONDS} s whether "
                f"{path.dead_letters} holds anything. {_STAYS} {_REACH}"
            ) from error

    def _lease(self, path: Path, ack_ids: list[str], seconds: int) -> None:
        self._subscriber.modify_ack_deadline(
            subscription=path.dead_letters, ack_ids=ack_ids, ack_deadline_seconds=seconds, **_PATIENCE
        )

    def _acknowledge(self, path: Path, letters: list[Letter]) -> None:
        if letters:
            self._subscriber.acknowledge(
                subscription=path.dead_letters, ack_ids=[letter.received.ack_id for letter in letters], **_PATIENCE
            )

    def _publish(self, topic: str, messages: list[PubsubMessage]) -> None:
        """Return once Pub/Sub has them."""
        if messages:
            self._publisher.publish(topic=topic, messages=messages, **_PATIENCE)

    def _lying(self, told_of: set[Image]) -> Iterator[Lying]:
        """What lies in the inbound bucket for too long, but for that."""
        latest = self._started - self._older_than
        for blob in self._storage.list_blobs(self._bucket, fields=_INBOUND_FIELDS, **_STORAGE_PATIENCE):
            since = blob.time_created
            if since is not None and since <= latest:
                lying = Lying(blob=blob, since=since)
                if lying.image not in told_of:
                    yield lying

    def _why(self, one: Letter | Lying, logged: str | None, *, read: bool) -> str:
        """The reason, as far as it can be known: `logged`, where the log could be `read` and says anything."""
        if isinstance(one, Lying):
            lost = "it arrived before the notification existed, its message was lost, or Pub/Sub still retries it"
            return f"no dead letter tells of it: {f'logged last, {logged}' if logged else lost}"
        if one.problem is not None:
            return f"malformed: {one.problem}"
        attempts = one.received.message.attributes.get(_ATTEMPTS, "all")
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
        return self._storage.bucket(self._bucket).blob(name, generation=generation).exists(**_STORAGE_PATIENCE)


def _shortened(text: str | None) -> str | None:
    """Without its middle: the functions say at first what they did, and at last what to check."""
    text = text and text.removesuffix(WHAT_COMES).rstrip()
    if text is None or len(text) <= _REASON_START + _REASON_END:
        return text
    return f"{text[:_REASON_START]} ... {text[-_REASON_END:]}"


@contextmanager
def _terminable() -> Generator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it holds is given back."""

    def end(*_: int | FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # giving back is not interrupted once more
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def redrive(stack: str | None, *, older_than: timedelta, yes: bool, discard_malformed: bool, shown: int) -> int:
    """Show what waits and, if that is confirmed, send it again; returns the exit code.

    Args:
        stack: a deployed Pulumi stack; None is the local cloud that runs here.
        older_than: what lies longer in the inbound bucket counts as waiting.
        yes: do not ask. Without it, and where nobody can be asked, everything stays as it is.
        discard_malformed: delete the dead letters that no function can read. Their images, if they had any, still lie in
            the inbound bucket and are found there.
        shown: at most so many lines; the rest is counted.

    Raises:
        TransferError: the cloud refuses, or there is no such line.
    """
    console = Console()
    line = Line(outputs_of(stack), older_than=older_than)
    try:
        found = line.look(shown)
        _print(found, *line.explain(found), console)
        if not found.counts:
            console.print(f"Nothing waits. {_UNSEEN}", soft_wrap=True)
            return 0
        _say_where_to_look(console, stack, line.project)
        discarded = found.malformed if discard_malformed else 0
        if not (found.sendable or discarded):
            console.print(f"Nothing to send again; {found.malformed:,} malformed: see --discard-malformed.")
            return 1
        if not yes and not _confirmed(found.sendable, discarded, console):
            return 1
        sent = line.send(found, discard_malformed=discard_malformed)
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise TransferError(f"{error}\n{_STAYS} {_what_to_do(error, line)}") from error
    console.print(f"{sent.sent:,} sent again, {sent.discarded:,} discarded, {sent.left:,} left.")
    return 1 if sent.left else 0


def _what_to_do(error: Exception, line: Line) -> str:
    match error:
        case Forbidden() | Unauthorized() | GoogleAuthError():
            return _ROLES
        case NotFound():
            return "A part of the line is not there: deploy it again (`pulumi up`)."
        case _:
            return f"{line.addresses} {_REACH}"


def _confirmed(sendable: int, discarded: int, console: Console) -> bool:
    question = f"Send {sendable:,} again" + (f" and discard {discarded:,} for good" if discarded else "")
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]  # closed: `<&-`
        console.print(f"Nothing was changed. {question}: --yes")
        return False
    return typer.confirm(f"{question}?")


def _print(found: Found, first: list[Waiting], unreadable: str | None, console: Console) -> None:
    if not found.counts:
        return
    if first:
        console.print(_table(first))
        if more := found.counts.total() - len(first):
            console.print(f"... and {more:,} more")
    if unreadable is not None:
        note = f"Cloud Logging did not tell why ({_printable(unreadable)}). {_LOG_ROLE}"
        console.print(Text(note), soft_wrap=True)
    console.print(", ".join(f"{where}: {count:,}" for where, count in found.counts.items()), highlight=False)


def _table(lines: list[Waiting]) -> Table:
    table = Table("where", "image", "since", "why")
    table.columns[1].overflow = table.columns[3].overflow = "fold"  # a long name or role is not cut off
    for waiting in lines:
        since = f"{waiting.since:%Y-%m-%d %H:%M:%S}Z"
        table.add_row(waiting.where, Text(_printable(waiting.image)), since, Text(_printable(waiting.why)))
    return table


def _say_where_to_look(console: Console, stack: str | None, project: str) -> None:
    if stack is None:
        logs = ".local/cloud/*-predict.log and .local/cloud/*-move.log"
    else:
        query = 'jsonPayload.logger=("predict" OR "move") AND severity>=WARNING'
        logs = f"gcloud logging read '{query}' --project={project} --freshness=7d (jsonPayload.image is the image)"
    console.print(f"The functions' logs: {escape(logs)}", highlight=False, soft_wrap=True)


def _printable(text: str) -> str:
    """A name may hold anything, also what a terminal obeys."""
    return text if text.isprintable() else repr(text)


def _notification(blob: storage.Blob) -> PubsubMessage:
    """What Cloud Storage publishes when an object is finalised, as far as :class:`NewImage` reads it."""
    resource = {
        "kind": "storage#object",
        "bucket": blob.bucket.name,
        "name": blob.name,
        "generation": str(blob.generation),
        "size": str(blob.size),
        "contentType": blob.content_type,
        "contentEncoding": blob.content_encoding,
        "metadata": blob.metadata,
    }
    present = {key: value for key, value in resource.items() if value is not None}
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": blob.bucket.name,
        "objectId": blob.name,
        "objectGeneration": str(blob.generation),
        REPEATED: "true",
    }
    return PubsubMessage(data=json.dumps(present).encode(), attributes=attributes)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def run(stack: str | None, *, older_than: timedelta, yes: bool, discard_malformed: bool, shown: int) -> None:
    """:func:`redrive` for the command line: a mistake becomes a line of text and exit code 1."""
    try:
        with _terminable():
            code = redrive(stack, older_than=older_than, yes=yes, discard_malformed=discard_malformed, shown=shown)
    except TransferError as error:
        typer.secho(f"Error: {error}", err=True)
        code = 1
    raise typer.Exit(code)
