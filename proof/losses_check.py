"""What is wrong with the images that were sent: lost, doubled, changed, misplaced or wrongly described."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from inspection import layout
from inspection.labels import REJECTED
from inspection.routing import folder_for
from proof.losses_images import A_SHIFT, INBOUND, THRESHOLDS


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A picture as the camera uploaded it; `source` tells it from every other one."""

    name: str
    generation: int
    data: bytes
    content_type: str
    content_encoding: str = ""
    metadata: Mapping[str, str]
    """The camera's own."""

    @property
    def source(self) -> str:
        """As it stands in the metadata of its copy."""
        return layout.source_uri(INBOUND, self.name, self.generation)


@dataclass(frozen=True)
class Found:
    """An object of a bucket."""

    name: str
    generation: int
    metadata: Mapping[str, str]
    content_type: str
    content_encoding: str
    read: Callable[[], bytes]


NOTES = "notes"
"""Of the camera's metadata, and more than there is room for: it may be left out."""


def what_is_wrong(
    sent: Iterable[Sent],
    inbound: Iterable[Found],
    predicted: Iterable[Found],
    *,
    scores: Callable[[bytes], Mapping[str, float] | None],
    models: Container[str],
    replaced: frozenset[str] | set[str] = frozenset(),
    waiting: frozenset[str] | set[str] = frozenset(),
    bucket: str = INBOUND,
) -> list[str]:
    """Every picture that is lost, doubled, changed, in the wrong folder or told untruths about; empty if all is well.

    Args:
        sent: every picture that was uploaded.
        inbound: what is in the inbound bucket now.
        predicted: what is in the prediction bucket now.
        scores: what the model says of a picture's bytes; None where it cannot take them.
        models: the names of those that were asked.
        replaced: the sources that the camera itself overwrote before their turn.
        waiting: the sources that may lie in the inbound bucket, as their messages are kept.
        bucket: the inbound bucket's name.
    """
    problems: list[str] = []
    places: dict[str, list[Found]] = {}
    for found in predicted:
        places.setdefault(found.metadata.get(layout.SOURCE, f"{found.name}, which says no source"), []).append(found)
    still_inbound = {layout.source_uri(bucket, found.name, found.generation): found for found in inbound}
    for one in sent:
        source = layout.source_uri(bucket, one.name, one.generation)
        copies, original = places.pop(source, []), still_inbound.pop(source, None)
        if source in replaced:
            problems += [f"{source} was replaced by the camera, and is in {copy.name}" for copy in copies]
            continue
        problems += _misplaced(source, copies, original, kept=source in waiting)
        for place in [*copies, *([original] if original else [])]:
            problems += _changes(place, one)
        problems += [problem for copy in copies for problem in _untruths(copy, scores(one.data), models)]
        problems += [problem for copy in copies for problem in _too_full(copy)]
    problems += [
        f"FOREIGN: {found.name} ({source}) was never sent" for source, all_ in places.items() for found in all_
    ]
    problems += [f"FOREIGN: {source} in the inbound bucket was never sent" for source in still_inbound]
    return problems


def _misplaced(source: str, copies: list[Found], original: Found | None, *, kept: bool) -> list[str]:
    where = [copy.name for copy in copies]
    if original and not (copies and kept):  # what is left to do may be the original's deletion
        where.append("the inbound bucket")
    if not where:
        return [f"LOST: {source} is nowhere"]
    if len(where) > 1:
        return [f"DOUBLED: {source} is in {' and in '.join(where)}"]
    if original and not kept:
        return [f"STUCK: {source} is in the inbound bucket, and no message is kept for it"]
    return []


def _changes(place: Found, sent: Sent) -> list[str]:
    changed = [f"CHANGED: {place.name} has not the bytes of {sent.source}"] if place.read() != sent.data else []
    camera = {key: value for key, value in place.metadata.items() if not layout.is_our_key(key) and key != NOTES}
    for what, has, had in (
        ("content type", place.content_type, sent.content_type),
        ("content encoding", place.content_encoding, sent.content_encoding),
        ("metadata of the camera's own", camera, sent.metadata),
    ):
        if has != had:
            changed.append(f"CHANGED: {place.name} has the {what} {has}, {sent.source} had {had}")
    return changed


def _too_full(copy: Found) -> list[str]:
    filed = [entry for entry in copy.metadata.items() if entry[0] not in layout.REVIEW_METADATA]
    room = layout.MAX_METADATA_BYTES - sum(map(layout.metadata_bytes, filed))
    needed = layout.REVIEW_RESERVE_BYTES
    return [f"NO ROOM: {copy.name} has {room} bytes left for a decision, which may need {needed}"] * (room < needed)


def _untruths(copy: Found, scores: Mapping[str, float] | None, models: Container[str]) -> list[str]:
    metadata = copy.metadata
    folder = copy.name.partition("/")[0]
    model = metadata.get(layout.MODEL, "")
    problems = [] if model in models else [f"{copy.name} says {model}, which was never asked"]
    if scores is None:
        if folder != REJECTED or not metadata.get(layout.ERROR):
            problems.append(
                f"{copy.name} is no picture, and its place or its metadata {dict(metadata)} does not say so"
            )
        return problems
    label = max(scores, key=scores.__getitem__)
    if metadata.get(layout.PREDICTION_LABEL) != label:
        problems.append(f"{copy.name} says {metadata.get(layout.PREDICTION_LABEL)}, the model {label}")
    if abs(float(metadata.get(layout.PREDICTION_SCORE, -1)) - scores[label]) > 1e-5:
        problems.append(f"{copy.name} says {metadata.get(layout.PREDICTION_SCORE)}, the model {scores[label]}")
    decision = metadata.get(layout.DECISION)
    expected = folder_for(label, scores[label], THRESHOLDS)
    if folder == "human_decided":
        last = copy.name.rpartition("/")[2]
        known = decision and metadata.get(layout.DECIDED_BY) and _is_past(metadata.get(layout.DECIDED_AT, ""))
        if not (known and last.startswith(f"{decision}_")):
            problems.append(f"{copy.name} is decided, and its metadata {dict(metadata)} says otherwise")
    elif folder != expected:
        problems.append(f"{copy.name} belongs into {expected}/")
    return problems


def _is_past(time: str) -> bool:
    try:
        return datetime.fromisoformat(time) <= datetime.now(UTC) + A_SHIFT
    except (ValueError, TypeError):  # no time, or one without its zone
        return False
