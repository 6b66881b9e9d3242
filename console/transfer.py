"""Many files to a bucket: several at once, never over another object.

Resumable by doing it again, as long as nobody takes objects out of the bucket. A line does so with its inbound bucket.

    files = ((path, f"inbound/{path.name}") for path in paths)
    with counting("Sending pictures", len(paths)) as progress:
        uploaded = upload(files, storage_client().bucket("pictures"), progress=progress)
    print_uploaded(uploaded)
    raise typer.Exit(uploaded.exit_code)

The client finds Google's credentials by itself, and goes to another server where STORAGE_EMULATOR_HOST names one.
"""

import base64
import mimetypes
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import google_crc32c
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import exceptions as http
from rich.console import Console

from console.errors import UserError
from inspection.names import BUCKET_NAME_RULE, is_bucket_name

MAX_LISTED_FAILURES = 1000
"""More are counted, and no longer listed: a million files without a network must not fill the memory."""

_RETRY = DEFAULT_RETRY.with_timeout(60)  # pyright: ignore[reportUnknownVariableType]
_HOPELESS = (
    api.NotFound,
    api.Forbidden,
    api.Unauthorized,
    api.RetryError,
    auth.GoogleAuthError,
    http.ConnectionError,
)
"""What would happen to every other file too; a busy or lost network only after a minute of retries."""

SEND_AGAIN = "; run the same command again to send what is missing"

_SCHEME = "gs://"


class TransferError(UserError):
    """Nothing can be sent at all; the text says what is wrong and what to do next."""


@dataclass(kw_only=True)
class Uploaded:
    """What became of the files of one upload."""

    sent: int = 0
    already_there: int = 0
    """The object existed with the same bytes (crc32c)."""
    failed: int = 0
    failures: list[str] = field(default_factory=list[str])
    """One line for each of the first `MAX_LISTED_FAILURES`: the file, the object and why."""
    hopeless: str = ""
    """A failure that every other file would have had too, so that no further one was tried."""

    @property
    def exit_code(self) -> int:
        """0 if everything is there now, otherwise 1."""
        return 1 if self.failed else 0


def is_unicode(name: str) -> bool:
    """Whether a name can be an object's. What a shell or a disk says in other than UTF-8 has lone surrogates in Python."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def split_uri(uri: str) -> tuple[str, str]:
    """`gs://bucket/some/prefix` as (`bucket`, `some/prefix`); the prefix may be empty.

    Raises:
        ValueError: it is no such address.
    """
    bucket, _, name = uri.removeprefix(_SCHEME).partition("/")
    if not uri.startswith(_SCHEME) or not is_bucket_name(bucket) or not is_unicode(name):
        raise ValueError(
            f"{uri!r} is no bucket: give gs://BUCKET or gs://BUCKET/PREFIX, where BUCKET is {BUCKET_NAME_RULE}, "
            "and PREFIX is in UTF-8"
        )
    return bucket, name


@cache
def storage_client() -> storage.Client:
    """The process's one client.

    Raises:
        TransferError: there are no credentials.
    """
    try:
        return storage.Client()
    except (auth.GoogleAuthError, OSError) as error:
        raise TransferError(
            f"no way into Google Cloud Storage ({error}); run `gcloud auth application-default login` and "
            "`gcloud config set project PROJECT`, or set STORAGE_EMULATOR_HOST for the local cloud"
        ) from error


def upload(
    files: Iterable[tuple[Path, str]],
    bucket: storage.Bucket,
    *,
    at_once: int = 8,
    progress: Callable[[], None] = lambda: None,
) -> Uploaded:
    """Send each file to the object of that name, `at_once` at a time.

    No object is ever overwritten (`ifGenerationMatch=0`): one with the same bytes counts as sent before, one with
    others as a failure. So an interrupted upload goes on when the same is asked again (see above). `files` is read as it is
    needed and may be a generator over a million; those that were not tried are the last ones.

    Args:
        files: (file, name of the object); the content type follows from the object's name.
        bucket: from `storage_client().bucket(name)`.
        at_once: 1 to 10; the client keeps no more connections open.
        progress: called in the calling thread, once for each file that is through, failed ones included.

    Raises:
        TransferError: the bucket does not exist, may not be written, or cannot be reached, and nothing is in it yet.
    """
    result = Uploaded()
    resuming = _Resuming()
    running: list[Future[bool]] = []
    pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="upload")

    def collect(done: Iterable[Future[bool]]) -> None:
        for future in done:
            _count(future, result)
            progress()

    try:
        for path, name in files:
            running.append(pool.submit(_upload_one, path, name, bucket, resuming))
            if len(running) >= 2 * at_once:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                running = [future for future in running if future not in done]
                collect(done)
            if result.hopeless:
                # From the last one, as otherwise a worker might take a later one than is cancelled.
                running = [future for future in reversed(running) if not future.cancel()]
                break
        collect(running)
    finally:
        pool.shutdown(cancel_futures=True)
    if result.hopeless and not result.sent + result.already_there:
        raise TransferError(
            f"{result.hopeless}; check the bucket's name, the network, and that you may create objects in it, "
            "then run the same command again"
        )
    return result


def _count(done: Future[bool], result: Uploaded) -> None:
    try:
        sent = done.result()
    except _FileError as error:
        result.failed += 1
        if len(result.failures) < MAX_LISTED_FAILURES:
            result.failures.append(str(error))
        if isinstance(error, _HopelessError):
            result.hopeless = str(error)
    else:
        result.sent += sent
        result.already_there += not sent


def print_uploaded(uploaded: Uploaded, console: Console | None = None, *, advice: str = SEND_AGAIN) -> None:
    """A line of figures, and one for each failure, on standard error; `advice` follows the figures of failures."""
    console = console or Console(stderr=True)
    for failure in uploaded.failures:
        console.print(failure, markup=False, highlight=False, soft_wrap=True)
    if unlisted := uploaded.failed - len(uploaded.failures):
        console.print(f"... and {unlisted:,} more", highlight=False)
    figures = f"{uploaded.sent:,} sent, {uploaded.already_there:,} there already, {uploaded.failed:,} failed"
    console.print(figures + (advice if uploaded.failed else ""), highlight=False)


class _FileError(Exception):
    """This file could not be sent; others may."""


class _HopelessError(_FileError):
    """Nor could any other."""


class _Resuming:
    """Whether an object was there already; from then on it is cheaper to ask before sending the next."""

    ask_first = False


def _upload_one(path: Path, name: str, bucket: storage.Bucket, resuming: _Resuming) -> bool:
    """True if it was sent, False if it was there already."""
    uri = f"{_SCHEME}{bucket.name}/{name}"
    blob = bucket.blob(name)
    try:
        if resuming.ask_first and _is_there(blob, path, uri):
            return False
        try:
            blob.upload_from_filename(
                str(path), content_type=_content_type(name), if_generation_match=0, checksum="crc32c", retry=_RETRY
            )
        except api.PreconditionFailed:
            resuming.ask_first = True
            if not _is_there(blob, path, uri):
                raise _FileError(
                    f"{path} -> {uri}: an object of that name was there and is gone; it may have been this very file, if the "
                    "network failed and the line has taken it: look whether it has landed"
                ) from None
            return False
    except _HOPELESS as error:
        raise _HopelessError(f"{path} -> {uri}: {_why(error)}") from error
    except (api.GoogleAPICallError, http.RequestException, OSError) as error:
        raise _FileError(f"{path} -> {uri}: {_why(error)}") from error
    return True


def _is_there(blob: storage.Blob, path: Path, uri: str) -> bool:
    try:
        blob.reload(retry=_RETRY)
    except api.NotFound:
        return False
    if blob.crc32c != _crc32c(path):
        raise _FileError(f"{path}: {uri} is there with other content; nothing is overwritten: rename the file")
    return True


def _crc32c(path: Path) -> str:
    """The checksum as Cloud Storage writes it: base64 of four bytes, the highest first."""
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode()


def _content_type(name: str) -> str:
    return mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"


def _why(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
