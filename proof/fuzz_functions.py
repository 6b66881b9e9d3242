"""Mutated Pub/Sub pushes and CloudEvents at both functions, which run as their server starts them.

They speak to a Cloud Storage, a model and a Pub/Sub on this machine. A push that is answered with success will never be
delivered again: then its picture must have been published, or moved, or never have been there.
"""

import base64
import gzip
import hashlib
import json
import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

from google.cloud import storage

from inspection import layout
from inspection.message import MalformedMessageError, NewImage, Prediction
from proof.fuzz_mutations import Fuzzed
from proof.fuzz_pictures import FORMATS, MEMORY_BYTES, mutated_pictures
from proof.fuzz_pushes import Request, as_push, attribute, field, in_some_form, mutated_push
from proof.fuzz_stage import Stage, surroundings
from tests.functions.stage import AUTOML_MODEL, picture

_PICTURES = 12
_STDERR = 2


def fuzz_functions(count: int, seed: int) -> list[Fuzzed]:
    """`count` mutated pushes at each function; the same for the same seed."""
    with surroundings() as stage:
        return [_fuzz_predict(stage, count, seed), _fuzz_move(stage, count, seed)]


def fuzz_whole_path(count: int, seed: int) -> list[Fuzzed]:
    """`count` mutated pictures of each format in the inbound bucket, and good notifications of them."""
    with surroundings() as stage, _without_remarks():
        return [_fuzz_pictures(stage, kind, count, seed) for kind in FORMATS]


@contextmanager
def _without_remarks() -> Generator[None]:
    """What decoders in C have to say of odd files goes nowhere."""
    kept = os.dup(_STDERR)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)


def _fuzz_predict(stage: Stage, count: int, seed: int) -> Fuzzed:
    fuzzed, rng = Fuzzed(target="predict: pushes and CloudEvents"), random.Random(seed)
    there = {_upload(stage.inbound, number): number for number in range(_PICTURES)}
    with fuzzed.timed():
        while fuzzed.count < count:
            name, generation = rng.choice(list(there))
            data, attributes = _notification(stage.inbound, name, generation)
            request, is_original = mutated_push(fuzzed, data, attributes, rng)
            before = len(stage.published)
            status, fields = stage.answer(fuzzed, request, is_original=is_original)
            published = stage.published[before:]
            _check_prediction(fuzzed, request.body, status, fields, published)
            about = (fields.get("image"), fields.get("generation"))
            if _is_gone(status, fields) and about in there and attribute(request, "bucketId") == stage.inbound.name:
                fuzzed.find("acknowledged as gone, and is there", request.body)
    if (left := _names(stage.inbound)) != set(there):
        fuzzed.find("pictures are gone", set(there) - left)
    return fuzzed


def _fuzz_pictures(stage: Stage, kind: str, count: int, seed: int) -> Fuzzed:
    """The same mutated pictures that :mod:`proof.fuzz_pictures` tries first, through the whole function."""
    fuzzed = Fuzzed(target=f"predict, whole: {kind}", memory_for_one=MEMORY_BYTES)
    rng = random.Random(seed)
    with fuzzed.timed():
        for number, mutation in enumerate(islice(mutated_pictures(kind, seed), count)):
            packed = rng.random() < 0.2
            content = gzip.compress(mutation, 1, mtime=0) if packed else mutation
            blob = stage.inbound.blob(f"{kind}/{number}")
            if packed:
                blob.content_encoding = "gzip"
            blob.upload_from_string(content, content_type=f"image/{kind.lower()}", if_generation_match=0)
            resource, attributes = _notification(stage.inbound, str(blob.name), int(blob.generation or 0))
            resource |= {"size": str(len(content))} | ({"contentEncoding": "gzip"} if packed else {})
            headers, body = in_some_form(as_push(json.dumps(resource).encode(), attributes, 1), form=2)
            before = len(stage.published)
            status, fields = stage.answer(fuzzed, Request(headers=headers, body=json.dumps(body).encode()))
            about = f"{number} of seed {seed}: {status} {fields}"
            if not _acknowledged(status):
                fuzzed.find("a picture that is never done with", about)
            _check_prediction(fuzzed, about, status, fields, stage.published[before:])
            if _is_gone(status, fields):
                fuzzed.find("acknowledged as gone, and is there", about)
            now = stage.inbound.get_blob(str(blob.name))
            if now is None or now.md5_hash != _md5(content):
                fuzzed.find("a picture is not what it was", about)
            blob.delete()
    return fuzzed


def _check_prediction(
    fuzzed: Fuzzed, about: object, status: int, fields: dict[str, Any], published: list[bytes]
) -> None:
    """Acknowledged and published are one; and move can read what was."""
    if _acknowledged(status) and not _is_gone(status, fields) and len(published) != 1:
        fuzzed.find("acknowledged without a prediction", about)
    if published and not _acknowledged(status):
        fuzzed.find("published and then not acknowledged", about)
    for message in published:
        try:
            told = Prediction.from_json(message)
        except MalformedMessageError as error:
            fuzzed.find("published what move cannot read", f"{error}: {about}")
        else:
            fuzzed.outcomes["published: " + ("an error" if told.error else "a label")] += 1


def _fuzz_move(stage: Stage, count: int, seed: int) -> Fuzzed:
    fuzzed, rng = Fuzzed(target="move: pushes and CloudEvents"), random.Random(seed)
    for blob in stage.inbound.list_blobs():
        blob.delete()
    waiting: dict[tuple[str, int], bytes] = {}
    sent: dict[str, bytes] = {}
    with fuzzed.timed():
        while (turn := fuzzed.count) < count:
            while len(waiting) < _PICTURES:
                number = len(sent)
                image = _upload(stage.inbound, number)
                waiting[image] = sent[layout.source_uri(str(stage.inbound.name), *image)] = _picture(number)
            name, generation = rng.choice(list(waiting))
            prediction = Prediction(
                bucket_name=str(stage.inbound.name),
                image_name=name,
                generation=generation,
                model=AUTOML_MODEL,
                predicted_at="2026-11-21T08:30:00Z",
                prediction_label="ok",
                prediction_score=rng.choice([0.3, 0.95]),
                predictions={"ok": 0.95, "defect": 0.05},
                content_type="image/jpeg",
                metadata={"station": "7"},
                **({} if turn % 7 else {"error": "the file is empty"}),
            )
            request, is_original = mutated_push(fuzzed, json.loads(prediction.to_json()), {}, rng)
            status, fields = stage.answer(fuzzed, request, is_original=is_original)
            about = (fields.get("image"), fields.get("generation"))
            if _is_gone(status, fields) and about in waiting and field(request, "bucket_name") == stage.inbound.name:
                fuzzed.find("acknowledged as gone, and is there", request.body)
            elif _acknowledged(status) and not _is_gone(status, fields):
                fuzzed.outcomes[str(fields.get("outcome"))] += 1
                waiting.pop(cast("tuple[str, int]", about), None)
    _account(fuzzed, stage, sent)
    return fuzzed


def _account(fuzzed: Fuzzed, stage: Stage, sent: dict[str, bytes]) -> None:
    """Each picture is in one place, with its own bytes; `sent` has them by their source."""
    places: dict[str, list[str | None]] = {}
    for blob in stage.inbound.list_blobs():
        source = layout.source_uri(str(stage.inbound.name), str(blob.name), int(blob.generation or 0))
        places.setdefault(source, []).append(blob.md5_hash)
    for blob in stage.prediction.list_blobs():
        places.setdefault((blob.metadata or {}).get(layout.SOURCE, "no source"), []).append(blob.md5_hash)
    for source, content in sent.items():
        if places.pop(source, []) != [_md5(content)]:
            fuzzed.find("a picture is not in exactly one place with its bytes", source)
    if places:
        fuzzed.find("pictures that nobody sent", list(places))
    fuzzed.outcomes["pictures accounted for"] = len(sent)


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _acknowledged(status: int) -> bool:
    return 100 <= status < 300  # Pub/Sub takes a few of these for success


def _is_gone(status: int, fields: dict[str, Any]) -> bool:
    return _acknowledged(status) and fields.get("outcome") == "gone"


def _picture(number: int) -> bytes:
    return picture((number % 256, number // 256 % 256, number // 65536 % 256))


def _upload(bucket: storage.Bucket, number: int) -> tuple[str, int]:
    blob = bucket.blob(f"line 1/part {number}.jpg")
    blob.metadata = {"station": "7"}
    blob.upload_from_string(_picture(number), content_type="image/jpeg", if_generation_match=0)
    return str(blob.name), int(blob.generation or 0)


def _names(bucket: storage.Bucket) -> set[tuple[str, int]]:
    return {(str(blob.name), int(blob.generation or 0)) for blob in bucket.list_blobs()}


def _notification(bucket: storage.Bucket, name: str, generation: int) -> tuple[dict[str, Any], dict[str, Any]]:
    resource = {
        "kind": "storage#object",
        "name": name,
        "bucket": bucket.name,
        "generation": str(generation),
        "size": "900",
        "contentType": "image/jpeg",
        "metadata": {"station": "7"},
    }
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": str(bucket.name),
        "objectId": name,
        "objectGeneration": str(generation),
    }
    NewImage.parse(attributes, json.dumps(resource).encode())  # good as long as nothing is changed
    return resource, attributes
