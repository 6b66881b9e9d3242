"""What Pub/Sub pushes to a function, and what the function answers when it cannot do its work.

Any answer but a 2xx makes Pub/Sub deliver again, and keep the message as a dead letter after the last attempt. So no
failure loses an image; the kinds below decide how it is logged.
"""

import base64
import binascii
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from inspection.message import MalformedMessageError


class RetryLaterError(Exception):
    """A cloud service is busy or out of reach: the same request can succeed a little later."""


class NeedsAttentionError(Exception):
    """No retry helps until a person changes something; the text says what to check."""


RequestFailedError = RetryLaterError | NeedsAttentionError

REPEATED = "repeated"
"""Attribute, with any value, of a message that may not be the first one about its image.

Pub/Sub's own count begins anew with every message: one that is published again, by whomever, has to say so itself.
"""

WHAT_COMES = "It is tried again, and after the last attempt the message is kept as a dead letter."
"""The end of what a function logs when no retry helps; no news to who looks at the dead letter."""

_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        499,  # how Google maps gRPC's CANCELLED
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


def message_of(event_data: object) -> tuple[Mapping[str, Any], bytes]:
    """The attributes and the data of the Pub/Sub message in a CloudEvent's data.

    https://cloud.google.com/pubsub/docs/push#receive_push

    Raises:
        MalformedMessageError: there is none in it.
    """
    message = event_data.get("message") if isinstance(event_data, dict) else None
    if not isinstance(message, dict):
        text = f"the push holds no Pub/Sub message: {str(event_data)[:100]!r}"
        raise MalformedMessageError(text)
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict):
        text = f"the message's attributes must be an object, not {str(attributes)[:100]!r}"
        raise MalformedMessageError(text)
    data = message.get("data") or ""
    try:
        return attributes, base64.b64decode(data, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        text = f"the message's data is no base64 ({error}): {str(data)[:100]!r}"
        raise MalformedMessageError(text) from error


def is_repeated(push: object, attributes: Mapping[str, Any]) -> bool:
    """Whether an earlier delivery may have begun the work, or have finished it.

    Pub/Sub counts in the push itself, which the CloudEvent made of it leaves out
    (https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts).

    Args:
        push: the request's JSON.
        attributes: the message's.
    """
    attempt = push.get("deliveryAttempt") if isinstance(push, dict) else None
    return (isinstance(attempt, int) and attempt > 1) or REPEATED in attributes


def failed_request(doing: str, *, status: int | None, answer: str, check: str) -> RequestFailedError:
    """The failure to raise when a cloud service refused a request, or did not answer.

    Args:
        doing: what was tried, as the beginning of a sentence.
        status: the HTTP status of the answer, None if there was none.
        answer: what the service said.
        check: what a person should look at if no retry can help.
    """
    if status is None or status in _PASSING:
        return RetryLaterError(f"{doing} failed and is tried again: {answer}")
    return NeedsAttentionError(f"{doing} was refused ({status}): {answer} - check {check}. {WHAT_COMES}")


def answer_failure(log: logging.Logger, error: Exception, fields: Mapping[str, object] | None) -> Any:  # noqa: ANN401 - the framework's own errors are answers, and no package may be imported here
    """Log why a push could not be handled.

    Args:
        log: the function's own.
        error: what was raised.
        fields: of the log line; None if the framework failed before the function began to read the message.

    Returns:
        The text and HTTP status to answer with, or the web framework's own error, which is an answer itself.
    """
    if hasattr(
        error, "get_response"
    ):  # werkzeug's HTTPException, named by what makes it an answer: standard library only
        # Without its description: that repeats the request's headers, and so the caller's token.
        log.warning("the request is not a Pub/Sub push: %s %s", getattr(error, "code", ""), type(error).__name__)
        return error
    if fields is None:
        # The framework raises whatever its readers raise. Nothing of the text: it may repeat the request as well.
        log.warning("the request is not a Pub/Sub push: %s", type(error).__name__)
        return "not a Pub/Sub push", HTTPStatus.BAD_REQUEST
    extra = {"fields": dict(fields)}
    match error:
        case RetryLaterError():
            log.warning("%s", error, extra=extra)
            return "try again later", HTTPStatus.SERVICE_UNAVAILABLE
        case NeedsAttentionError():
            log.error("%s", error, extra=extra)
            return "see the log", HTTPStatus.INTERNAL_SERVER_ERROR
        case MalformedMessageError():
            log.error("malformed message, becomes a dead letter: %s", error, extra=extra)
            return "malformed message", HTTPStatus.BAD_REQUEST
        case _:
            log.error("unexpected %s: %s", type(error).__name__, error, exc_info=error, extra=extra)
            return "see the log", HTTPStatus.INTERNAL_SERVER_ERROR
