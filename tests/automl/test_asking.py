"""A picture of the data set whose download fails costs its own line, and nothing else."""

from functools import partialmethod

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from automl.evaluation.asking import picture_bytes
from inspection.environment import STORAGE_EMULATOR
from tests.functions.stage import ANSWER_OF_2048, answering


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER_OF_2048 + b"\r\n" + b"x" * 1024,
        ANSWER_OF_2048 + b"X-Goog-Hash: crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + b"x" * 2048,
    ],
    ids=["breaks off", "is corrupted"],
)
def test_a_download_that_fails_on_its_way_is_an_error_that_the_commands_know(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
):
    with answering(answer, stalls=False) as address:
        monkeypatch.setenv(STORAGE_EMULATOR, address)
        client = storage.Client(project="factory", credentials=AnonymousCredentials())
        # The client's own two minutes of further tries would end alike.
        monkeypatch.setattr(
            storage.Blob, "download_as_bytes", partialmethod(storage.Blob.download_as_bytes, retry=None)
        )
        with pytest.raises(OSError, match=r"broken: |broke off"):
            picture_bytes(client, "gs://castings/1.jpg")
