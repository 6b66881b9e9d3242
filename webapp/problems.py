"""What the app refuses, and with which answer."""

from datetime import datetime
from http import HTTPStatus

from webapp import api


class ProblemError(Exception):
    """A refusal that reaches the page as `problem`, with `status`."""

    def __init__(self, status: HTTPStatus, problem: api.Problem) -> None:
        super().__init__(problem.message)
        self.status = status
        self.problem = problem


def invalid(message: str) -> ProblemError:
    """A value that is not allowed; the text names it and what is."""
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, api.Problem(code="invalid", message=message))


def unknown_picture() -> ProblemError:
    """No picture of the queue has this id."""
    message = "There is no such picture. It may have been removed from the storage; go on with the next one."
    return ProblemError(HTTPStatus.NOT_FOUND, api.Problem(code="unknown_picture", message=message))


def decided(*, by: str, label: str, at: datetime | None) -> ProblemError:
    """Another decision on the picture came first."""
    message = f"{by} was faster and decided {label!r}."
    return ProblemError(HTTPStatus.CONFLICT, api.Problem(code="decided", message=message, by=by, label=label, at=at))


def claimed(*, by: str, until: datetime) -> ProblemError:
    """Another page holds the picture."""
    message = f"{by} is looking at this picture in another window or on another machine."
    return ProblemError(HTTPStatus.CONFLICT, api.Problem(code="claimed", message=message, by=by, until=until))


def changed() -> ProblemError:
    """The picture under this name is not the one that was shown."""
    message = "The picture was replaced, or a decision on it was taken back, after it was shown. It comes again as new."
    return ProblemError(HTTPStatus.CONFLICT, api.Problem(code="changed", message=message))


def retained() -> ProblemError:
    """The storage keeps the picture where it is."""
    message = (
        "A retention policy or a hold in the storage keeps this picture where it is, so it cannot be moved. Whoever runs "
        "this line can lift it; the picture comes again at the end of the queue."
    )
    return ProblemError(HTTPStatus.CONFLICT, api.Problem(code="retained", message=message))


def undo_refused(message: str) -> ProblemError:
    """A decision that this page cannot take back."""
    return ProblemError(HTTPStatus.CONFLICT, api.Problem(code="undo_refused", message=message))
