"""Pub/Sub's place in the loss proof: push subscriptions that deliver when a test says so, and a log of requests."""

import base64
import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from inspection import layout
from inspection.push import REPEATED
from local.google.gate import Call, RequestLog
from proof.losses_images import INBOUND

MAX_ATTEMPTS = 5


@dataclass
class Message:
    """One message on its way to one function."""

    body: dict[str, Any]
    attempts: int = 0
    why: str = ""
    """The log line of the last attempt."""

    @property
    def is_repeated(self) -> bool:
        """Whether its function will know that it may not be the first."""
        return self.attempts > 0 or REPEATED in self.body["message"]["attributes"]


@dataclass
class Subscription:
    """Pub/Sub's side of a push subscription; it delivers nothing by itself."""

    name: str
    waiting: list[Message] = field(default_factory=list[Message])
    dead: list[Message] = field(default_factory=list[Message])
    _published: int = 0

    def publish(self, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        """Take a message."""
        self._published += 1
        identifier = f"{self.name}-{self._published}"
        message = {
            "data": base64.b64encode(data).decode(),
            "attributes": dict(attributes or {}),
            "messageId": identifier,
            "message_id": identifier,
            "publishTime": "2026-11-21T08:30:00Z",
        }
        self.waiting.append(
            Message({"message": message, "subscription": f"projects/factory/subscriptions/{self.name}"})
        )
        return identifier

    def deliver(self, at: int, post: Callable[[dict[str, Any]], int], log: Callable[[], str]) -> int:
        """One attempt at one of the waiting messages; returns the answer's status.

        https://cloud.google.com/pubsub/docs/handling-failures: anything but 2xx is another attempt, until there are
        no more.
        """
        message = self.waiting[at]
        message.attempts += 1
        status = post({**message.body, "deliveryAttempt": message.attempts})
        if status // 100 == 2:
            self.waiting.remove(message)
        else:
            message.why = log()
            if message.attempts == MAX_ATTEMPTS:
                self.waiting.remove(message)
                self.dead.append(message)
        return status

    def deliver_twice(self, at: int) -> None:
        """Let a message come once more, as if Pub/Sub had never heard that it was worked on."""
        self.waiting.append(replace(self.waiting[at]))

    def send_dead_letters_again(self) -> None:
        """What a person does once the reason is gone."""
        for letter in self.dead:
            message = letter.body["message"]
            self.publish(base64.b64decode(message["data"]), message["attributes"] | {REPEATED: "true"})
        self.dead.clear()

    def sources(self) -> set[str]:
        """Of the pictures that the dead letters are about."""
        return set(map(_source_of, self.dead))

    def passing_for_first(self) -> list[str]:
        """The source of every message that does not say that it may not be the first about it."""
        return [_source_of(message) for message in (*self.waiting, *self.dead) if not message.is_repeated]


def _source_of(message: Message) -> str:
    content = message.body["message"]
    if "objectId" in (fields := content["attributes"]):
        return layout.source_uri(INBOUND, fields["objectId"], int(fields["objectGeneration"]))
    fields = json.loads(base64.b64decode(content["data"]))
    return layout.source_uri(INBOUND, fields["image_name"], fields["generation"])


class Requests(RequestLog):
    """Remembers as well which calls took effect."""

    def __init__(self) -> None:
        super().__init__()
        self._took_effect: list[Call] = []

    def leave(self, call: Call) -> None:
        self._took_effect.append(call)

    def of(self, identity: str) -> list[tuple[str, bool]]:
        """Methods since the last :meth:`clear`, and whether each took effect."""
        return [
            (call.method, any(call is other for other in self._took_effect))
            for call in self.calls
            if call.identity == identity
        ]

    def clear(self) -> None:
        super().clear()
        self._took_effect.clear()


class InWork:
    """Counts the requests that are being answered: those whose answers are withheld go on after their askers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @contextmanager
    def one(self) -> Generator[None]:
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def ends(self) -> bool:
        """Whether there are none, now or in a moment."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, 0.01)

    def watch(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with self.one():
                await app(scope, receive, send)

        return watched


class LastLine(logging.Handler):
    """What was logged last: why a push was refused."""

    def __init__(self) -> None:
        super().__init__()
        self._line = ""

    def emit(self, record: logging.LogRecord) -> None:
        fields: Mapping[str, object] = getattr(record, "fields", {})
        self._line = f"{fields.get('image')}: {record.getMessage()}"

    def take(self) -> str:
        line, self._line = self._line, ""
        return line
