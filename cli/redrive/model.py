"""What `inspection redrive` finds: dead letters, and images that stay in the inbound bucket."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from google.cloud import storage
from google.pubsub_v1 import PubsubMessage, ReceivedMessage

from cli.redrive.reasons import About, Image
from inspection.message import MalformedMessageError, NewImage, Prediction
from inspection.push import REPEATED

FUNCTIONS = {"images": "predict", "predictions": "move"}
"""Each path of events, and the function that its messages are for."""
INBOUND = "inbound bucket"
_DEAD_LETTER_ATTRIBUTES = "CloudPubSubDeadLetter"
"""How the attributes begin that Pub/Sub gives a dead letter
(https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic)."""
ATTEMPTS = "CloudPubSubDeadLetterSourceDeliveryCount"


@dataclass(frozen=True, kw_only=True)
class EventPath:
    """One path of events."""

    name: str
    topic: str
    dead_letters: str

    @property
    def function(self) -> str:
        """The function that receives its messages."""
        return FUNCTIONS[self.name]

    @property
    def where(self) -> str:
        """The heading under which its dead letters are counted."""
        return f"dead letter for {self.function}"


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A dead letter that is leased to this process."""

    path: EventPath
    received: ReceivedMessage
    image: Image | None
    """None where the message does not say."""
    problem: str | None
    """Why no function can read the message; None where it can."""

    @classmethod
    def read(cls, path: EventPath, received: ReceivedMessage) -> "DeadLetter":
        """The message as its function would read it."""
        message = received.message
        try:
            if path.function == "predict":
                content = NewImage.parse(_sent_attributes(message), message.data)
            else:
                content = Prediction.from_json(message.data)
        except MalformedMessageError as error:
            name = message.attributes.get("objectId")
            return cls(path=path, received=received, image=(name, 0) if name else None, problem=str(error))
        return cls(path=path, received=received, image=(content.image_name, content.generation), problem=None)

    @property
    def where(self) -> str:
        """The heading under which it is counted."""
        return self.path.where

    @property
    def about(self) -> About | None:
        """The key for its reason in the functions' log, if there can be one."""
        return None if self.image is None or self.problem is not None else (self.path.function, self.image)

    @property
    def since(self) -> datetime:
        """When it became a dead letter."""
        return cast("datetime", self.received.message.publish_time)

    def again(self) -> PubsubMessage:
        """The original message, marked as repeated."""
        message = self.received.message
        attributes = _sent_attributes(message) | {REPEATED: "true"}
        return PubsubMessage(data=message.data, attributes=attributes, ordering_key=message.ordering_key)


def _sent_attributes(message: PubsubMessage) -> dict[str, str]:
    """Without those that Pub/Sub gave the dead letter."""
    return {key: value for key, value in message.attributes.items() if not key.startswith(_DEAD_LETTER_ATTRIBUTES)}


@dataclass(frozen=True, kw_only=True)
class StrandedImage:
    """An image that has stayed in the inbound bucket for too long."""

    blob: storage.Blob
    since: datetime

    where = INBOUND

    @property
    def image(self) -> Image:
        """Its name and generation."""
        return str(self.blob.name), self.blob.generation or 0

    @property
    def about(self) -> About:
        """The key for its reason in the functions' log, if there can be one."""
        return None, self.image


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table."""

    where: str
    image: str
    since: datetime
    why: str


@dataclass(kw_only=True)
class Found:
    """Dead letters and stranded images: all are counted, the first are kept."""

    max_kept: int
    """The largest number of items that are kept."""
    first: list[DeadLetter | StrandedImage] = field(default_factory=list["DeadLetter | StrandedImage"])
    counts: Counter[str] = field(default_factory=Counter[str])
    malformed: int = 0

    def add(self, one: DeadLetter | StrandedImage) -> None:
        """Count an item, and keep it if there is room."""
        self.counts[one.where] += 1
        if len(self.first) < self.max_kept:
            self.first.append(one)

    @property
    def sendable(self) -> int:
        """How many of the items a function can read."""
        return self.counts.total() - self.malformed


@dataclass(kw_only=True)
class Sent:
    """How many items were sent, discarded and left."""

    sent: int = 0
    discarded: int = 0
    left: int = 0
    """Malformed and not to be discarded, only just arrived, or in another client's hands meanwhile."""


def notification(blob: storage.Blob) -> PubsubMessage:
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
