"""What happens to a picture of the queue: claimed, decided, skipped, undone.

The bucket is the only state. Each step is one compare-and-set on the object's metadata or one atomic move, both with
preconditions; what a page says about a picture (its claim) only spares a request, the storage decides. So a request
can be sent twice, two reviewers can race, and an instance can die at any point.

Pictures are moved, never copied, deleted or overwritten.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus

from google.api_core.exceptions import ClientError, Forbidden, NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from inspection import layout
from inspection.logs import structured_logger
from webapp import api, picture, problems
from webapp.picture import Hold, PictureId, StoredPicture
from webapp.picture_store import PictureStore, RetainedError, filed_names
from webapp.waiting import WaitingCount

CLAIM_TIME = timedelta(minutes=2)
"""How long a picture stays with a page that says nothing more. Pages renew at half of it."""

PAGES_AT_ONCE = 3
"""A request looks at PAGE_SIZE * PAGES_AT_ONCE pictures at most, however many wait; the cursor goes on from there."""

CLAIMS_AT_ONCE = 8

MISSING_PERMISSION = 10
"""So many claims refused as not allowed, and none granted, say that a permission is missing: it is not the pictures."""

_NOT_ABOUT_THE_PICTURE = (HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)

_ATTEMPTS = 4
"""How often a step is tried anew when the object has changed under it."""

_log = structured_logger("review")


@dataclass(frozen=True)
class Reviewer:
    """Who asks: a person, on one open page."""

    email: str
    page: str


@dataclass(frozen=True)
class _Cursor:
    """Where the search for free pictures goes on.

    First all that nobody has skipped, then, from the front again, every free one.
    """

    skipped_too: bool = False
    after: str = ""

    def __str__(self) -> str:
        return picture.encode(int(self.skipped_too), self.after)

    @classmethod
    def parse(cls, text: str | None) -> "_Cursor":
        if text is None:
            return cls()
        match picture.decode(text):
            case [0 | 1 as skipped_too, str(after)] if after == "" or picture.is_queued(after):
                return cls(bool(skipped_too), after)
            case _:
                raise problems.invalid(f"cursor is {text[:100]!r}; give the one of the last answer, or null")


class Reviewing:
    """The queue of one prediction bucket and the decisions on it."""

    def __init__(
        self,
        bucket: Bucket,
        labels: tuple[str, ...],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels = labels
        self.claim_seconds = int(CLAIM_TIME.total_seconds())
        self._store = PictureStore(bucket)
        self._now = now
        self._waiting = WaitingCount(bucket, monotonic=monotonic)
        self._pool = ThreadPoolExecutor(CLAIMS_AT_ONCE, thread_name_prefix="claim")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def waiting(self) -> api.Waiting:
        """About how many pictures wait."""
        return self._waiting.read()

    # The queue

    def next_pictures(self, reviewer: Reviewer, wanted: api.QueueRequest) -> api.Queue:
        """Claim the next free pictures: `wanted.count` of them, or as many as a bounded search finds."""
        held = set(wanted.held)
        cursor: _Cursor | None = _Cursor.parse(wanted.cursor)
        claimed: list[StoredPicture] = []
        refused: list[ClientError] = []
        for _ in range(PAGES_AT_ONCE):
            if cursor is None or len(claimed) == wanted.count:
                break
            page, following = self._read_page(cursor)
            free = [stored for stored in page if stored.id.key not in held and self._is_free(stored, reviewer, cursor)]
            while free and len(claimed) < wanted.count:
                tried = free[: wanted.count - len(claimed)]
                free = free[len(tried) :]
                outcomes = list(self._pool.map(partial(self._claim_or_pass_over, reviewer, cursor), tried))
                claimed += [outcome for outcome in outcomes if isinstance(outcome, StoredPicture)]
                refused += [outcome for outcome in outcomes if isinstance(outcome, ClientError)]
                not_allowed = [error for error in refused if isinstance(error, Forbidden)]
                if len(not_allowed) >= MISSING_PERMISSION and not claimed:
                    raise not_allowed[0]
                held.update(stored.id.key for stored in tried)
                if free:
                    cursor = _Cursor(cursor.skipped_too, tried[-1].name)
            if not free:
                cursor = following
        return api.Queue(
            pictures=[self._shown(stored) for stored in claimed],
            cursor=None if cursor is None else str(cursor),
            waiting=self._waiting.read(),
            passed_over=len(refused),
        )

    def _read_page(self, cursor: _Cursor) -> tuple[list[StoredPicture], _Cursor | None]:
        """One page from the cursor on, and where to go on after it."""
        page, last = self._store.page(cursor.after)
        if last is not None:
            return page, _Cursor(cursor.skipped_too, last)
        return page, None if cursor.skipped_too else _Cursor(skipped_too=True)

    def _is_free(self, stored: StoredPicture, reviewer: Reviewer, cursor: _Cursor) -> bool:
        if picture.SKIPPED_AT in stored.metadata and not cursor.skipped_too:
            return False
        hold = self._hold(stored)
        # A page that was loaded again gets its own pictures back.
        return hold is None or (stored.decision is None and _is_by(hold, reviewer))

    def _claim_or_pass_over(
        self, reviewer: Reviewer, cursor: _Cursor, found: StoredPicture
    ) -> StoredPicture | ClientError | None:
        """The claimed picture, None if another was faster, or why the storage refuses a claim on this very picture."""
        try:
            return self._claim(reviewer, cursor, found)
        except ClientError as error:
            if error.code in _NOT_ABOUT_THE_PICTURE:
                raise
            _log.error(  # the cause is the storage's answer, not this code
                "passed over: the storage refuses a claim: %s",
                error,
                extra={"fields": {"outcome": "passed over", "image": str(found.id), "status": error.code}},
            )
            return error

    def _claim(self, reviewer: Reviewer, cursor: _Cursor, found: StoredPicture) -> StoredPicture | None:
        claim = {**self._claim_for(reviewer), **picture.NO_DECISION}
        stored: StoredPicture | None = found
        for _ in range(_ATTEMPTS):
            if stored is None or not self._is_free(stored, reviewer, cursor):
                break
            try:
                return self._store.patch(stored.id, stored.metageneration, claim)
            except (NotFound, PreconditionFailed):
                # Another was faster, or this page was: one that is loaded again lets go of its pictures meanwhile.
                stored = self._store.read(stored.id)
        return None

    def _claim_for(self, reviewer: Reviewer) -> dict[str, str | None]:
        until = self._now() + CLAIM_TIME
        return {
            picture.CLAIMED_BY: reviewer.email,
            picture.CLAIMED_ON: reviewer.page,
            picture.CLAIMED_UNTIL: until.isoformat(),
        }

    def _shown(self, stored: StoredPicture) -> api.Picture:
        return api.Picture(
            id=stored.id.key,
            claim=str(stored.metageneration),
            name=stored.camera_name,
            label=stored.metadata.get(layout.PREDICTION_LABEL),
            score=stored.score,
            model=stored.metadata.get(layout.MODEL),
            image_url=f"/api/pictures/{stored.id.key}/image",
            claimed_until=datetime.fromisoformat(stored.metadata[picture.CLAIMED_UNTIL]),
            skipped=picture.SKIPPED_AT in stored.metadata,
        )

    # Claims

    def renew(self, reviewer: Reviewer, pictures: Iterable[api.ClaimedPicture]) -> api.Claims:
        """Let each claim last CLAIM_TIME from now on; a claim that has ended without another taking it comes back."""

        def renew_one(held: api.ClaimedPicture) -> api.RenewedClaim | api.LostClaim:
            try:
                stored = self._change(
                    reviewer,
                    PictureId.parse(held.id),
                    {**self._claim_for(reviewer), **picture.NO_DECISION},
                )
            except problems.ProblemError as error:
                return api.LostClaim(id=held.id, problem=error.problem)
            return api.RenewedClaim(
                id=held.id,
                claim=str(stored.metageneration),
                claimed_until=datetime.fromisoformat(stored.metadata[picture.CLAIMED_UNTIL]),
            )

        outcomes = list(self._pool.map(renew_one, pictures))
        return api.Claims(
            renewed=[outcome for outcome in outcomes if isinstance(outcome, api.RenewedClaim)],
            lost=[outcome for outcome in outcomes if isinstance(outcome, api.LostClaim)],
        )

    def release(self, reviewer: Reviewer, pictures: Iterable[api.ClaimedPicture]) -> None:
        """End the page's claims; those that have changed are passed over.

        A page that is loaded again can have claimed its pictures anew before the old one's farewell arrives: these stay.
        """

        def release_one(held: api.ClaimedPicture) -> None:
            with suppress(problems.ProblemError, NotFound, PreconditionFailed):
                target = PictureId.parse(held.id)
                stored = self._store.read(target)
                hold = stored and self._hold(stored)
                if stored and hold and _is_by(hold, reviewer) and stored.metageneration == int(held.claim):
                    # With the claim goes what a guess may have left beside it: without the claim it would count.
                    self._store.patch(target, stored.metageneration, {**picture.NO_CLAIM, **picture.NO_DECISION})

        list(self._pool.map(release_one, pictures))

    def skip(self, reviewer: Reviewer, target: PictureId) -> None:
        """Return a picture to the end of the queue.

        Raises:
            ProblemError: it is with another reviewer, decided, changed or gone.
        """
        self._change(reviewer, target, self._skipped())

    def _skipped(self) -> Mapping[str, str | None]:
        return {**picture.NO_CLAIM, **picture.NO_DECISION, picture.SKIPPED_AT: self._now().isoformat()}

    def _change(self, reviewer: Reviewer, target: PictureId, changes: Mapping[str, str | None]) -> StoredPicture:
        """Change a picture's metadata, unless another has it: that is read first, as a claim's number can be guessed."""
        for _ in range(_ATTEMPTS):
            stored = self._store.read(target)
            if stored is None:
                raise self._why_gone(target)
            self._refuse_if_taken(stored, reviewer)
            with suppress(NotFound, PreconditionFailed):
                return self._store.patch(target, stored.metageneration, changes)
        raise problems.changed()

    # Decisions

    def decide(self, reviewer: Reviewer, target: PictureId, request: api.DecisionRequest) -> api.Decision:
        """Record a decision in the picture's metadata, then move it to `human_decided/`: two requests to the storage.

        Raises:
            ProblemError: the label is unknown, or the picture is with another reviewer, decided, changed or gone.
        """
        if request.label not in self.labels:
            allowed = ", ".join(self.labels)
            raise problems.invalid(f"label is {request.label[:100]!r}; this line's labels are {allowed}")
        seen: StoredPicture | None = None
        recorded: StoredPicture | None = None
        names = filed_names(target, request.label)
        name = next(names)
        for _ in range(_ATTEMPTS):
            try:
                recorded = recorded or self._record(reviewer, target, request, seen)
                self._store.move(recorded, name)
            except RetainedError as error:
                self._put_off(target, recorded, error)
                raise problems.retained() from error
            except (NotFound, PreconditionFailed):
                stored = self._store.read(target)
                if stored is None:
                    return self._decided_before(reviewer, target, request)
                if stored.decision != request.label or stored.decided_by != reviewer.email:
                    self._refuse_if_taken(stored, reviewer)
                    recorded, seen = None, stored
                elif recorded and recorded.metageneration == stored.metageneration:
                    name = next(names, name)  # another picture has that name
                else:
                    recorded = stored  # sent before, and not finished
            else:
                self._waiting.correct(-1)
                _log.info("decided", extra={"fields": {"image": str(target), "to": name, **_facts(recorded)}})
                return self._decision(target, name, recorded)
        raise problems.changed()

    def _record(
        self, reviewer: Reviewer, target: PictureId, request: api.DecisionRequest, seen: StoredPicture | None
    ) -> StoredPicture:
        """Write the decision into the picture's metadata.

        Args:
            reviewer: who decides.
            target: on which picture.
            request: the decision, with the number of the page's claim.
            seen: the picture, where it was looked at and is not another's.

        Raises:
            PreconditionFailed: the picture has changed, or another holds it.
        """
        decision: Mapping[str, str | None] = {
            layout.DECISION: request.label,
            layout.DECIDED_BY: reviewer.email,
            layout.DECIDED_AT: self._now().isoformat(),
            picture.DECIDED_ON: f"{reviewer.page}/{request.number}",
            picture.DECIDED_FROM: str(target),
        }
        if seen is not None:
            return self._store.patch(target, seen.metageneration, {**decision, **picture.NO_CLAIM})
        # Nothing was looked at, to save a request. So the claim stays: the answer says whose it is, and beside another's
        # the decision does not count, not even if it cannot be taken back.
        recorded = self._store.patch(target, int(request.claim), decision)
        if recorded.decision is None:
            self._store.patch(target, recorded.metageneration, picture.NO_DECISION)
            raise PreconditionFailed("the claim is another's")
        return recorded

    def _put_off(self, target: PictureId, recorded: StoredPicture | None, error: RetainedError) -> None:
        """Take the decision back and let the picture come again after all others: nobody can file it now."""
        _log.error("retained: %s", error, extra={"fields": {"outcome": "retained", "image": str(target)}})
        if recorded:
            with suppress(NotFound, PreconditionFailed):
                self._store.patch(target, recorded.metageneration, self._skipped())

    def _decided_before(self, reviewer: Reviewer, target: PictureId, request: api.DecisionRequest) -> api.Decision:
        """The answer where the picture has left the queue: this very decision, sent again, or a conflict."""
        filed = self._store.find_filed(target, self.labels, first=request.label)
        if filed and filed.decision == request.label and filed.decided_by == reviewer.email:
            return self._decision(target, filed.name, filed)
        raise self._why_gone(target, filed)

    def _decision(self, target: PictureId, name: str, recorded: StoredPicture) -> api.Decision:
        return api.Decision(
            id=target.key,
            label=recorded.decision or "",
            decided_at=recorded.decided_at or self._now(),
            undo=picture.encode(name, target.name, target.generation, target.source_generation),
            waiting=self._waiting.known(),
        )

    def _refuse_if_taken(self, stored: StoredPicture, reviewer: Reviewer) -> None:
        hold = self._hold(stored)
        if hold and stored.decision is not None:
            raise problems.decided(by=hold.by, label=stored.decision, at=stored.decided_at)
        if hold and not _is_by(hold, reviewer):
            raise problems.claimed(by=hold.by, until=hold.until)

    def _why_gone(self, target: PictureId, filed: StoredPicture | None = None) -> problems.ProblemError:
        filed = filed or self._store.find_filed(target, self.labels)
        if filed:
            return problems.decided(by=filed.decided_by, label=filed.decision or "", at=filed.decided_at)
        return problems.changed() if self._store.get(target.name) else problems.unknown_picture()

    # Undo

    def undo(self, reviewer: Reviewer, request: api.UndoRequest) -> api.Picture:
        """Move a picture back to the queue, claimed for the page that had decided on it.

        The page keeps the list of its decisions; what may be undone is read from the object itself (who decided, on
        which page, as its how-manieth decision), so there is neither a session to store nor a secret to share.

        Raises:
            ProblemError: it is not one of the last decisions of this reviewer on this page, or it has changed since.
        """
        match picture.decode(request.undo):
            case [str(name), str(old_name), int(generation), int(source_generation)] if picture.is_filed(
                name
            ) and picture.is_queued(old_name):
                target = PictureId(old_name, generation, source_generation)
            case _:
                raise problems.invalid("undo is none of this app's; give the text of the decision's answer")
        for _ in range(_ATTEMPTS):
            try:
                return self._shown(self._move_back(reviewer, request, name, target))
            except (NotFound, PreconditionFailed):
                continue  # sent twice at once, or stopped half-way before: look again
            except RetainedError as error:
                _log.error(  # the cause is the storage's answer, not this code
                    "retained: %s", error, extra={"fields": {"outcome": "retained", "image": name}}
                )
                raise problems.retained() from error
        raise problems.changed()

    def _move_back(self, reviewer: Reviewer, request: api.UndoRequest, name: str, target: PictureId) -> StoredPicture:
        moved = self._store.get(name)
        if moved and moved.metadata.get(picture.DECIDED_FROM) == str(target):
            self._refuse_undo(moved, reviewer, request)
            moved = self._store.move_back(moved, target)
            self._waiting.correct(+1)
            _log.info("undone", extra={"fields": {"image": str(moved.id), "from": name, **_facts(moved)}})
        else:
            moved = self._store.find_returned(target)
            if moved is None:
                raise problems.undo_refused("The picture is no longer where this decision put it.")
            if moved.decision is None:
                hold = self._hold(moved)
                if hold and _is_by(hold, reviewer):
                    return moved  # sent again
                raise problems.undo_refused("The decision has been taken back already.")
            self._refuse_undo(moved, reviewer, request)
        # The decision goes last: if this instance dies before, the undo can be sent again.
        return self._store.patch(moved.id, moved.metageneration, {**self._claim_for(reviewer), **picture.NO_DECISION})

    def _refuse_undo(self, filed: StoredPicture, reviewer: Reviewer, request: api.UndoRequest) -> None:
        page, number = filed.decided_on
        if filed.decided_by != reviewer.email or page != reviewer.page:
            message = f"{filed.decided_by} decided this in another session; only that session can take it back."
            raise problems.undo_refused(message)
        if not 0 <= request.number - number < api.UNDO_LIMIT:
            raise problems.undo_refused(f"Only a session's last {api.UNDO_LIMIT} decisions can be taken back.")

    def _hold(self, stored: StoredPicture) -> Hold | None:
        return stored.hold(self._now(), CLAIM_TIME)


def _is_by(hold: Hold, reviewer: Reviewer) -> bool:
    return (hold.by, hold.page) == (reviewer.email, reviewer.page)


def _facts(stored: StoredPicture) -> dict[str, object]:
    return {
        "decision": stored.decision,
        "decided_by": stored.decided_by,
        "label": stored.metadata.get(layout.PREDICTION_LABEL),
        "score": stored.score,
        "model": stored.metadata.get(layout.MODEL),
    }
