"""The real `gcloud storage` command against the local server."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from google.cloud import storage

from tests.local.conftest import LocalStorage, existing

pytestmark = [
    pytest.mark.gcloud,
    pytest.mark.skipif(
        shutil.which("gcloud") is None, reason="gcloud is not on PATH; install the Google Cloud CLI to run this"
    ),
]

PICTURE = bytes(range(256)) * 11 + b"\r"
LARGE = PICTURE * 4000  # 11 MB: above gcloud's limit for an upload in one request


@pytest.fixture
def gcloud(local_storage: LocalStorage, tmp_path: Path) -> Callable[..., str]:
    environment = {
        **os.environ,
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{local_storage.url}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "factory",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    }

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            ["gcloud", "storage", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_gcloud_uploads_lists_moves_downloads_and_deletes(
    gcloud: Callable[..., str], bucket: storage.Bucket, tmp_path: Path
):
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.mkdir()
    received.mkdir()
    (sent / "Teil 1.jpg").write_bytes(PICTURE)
    (sent / "large.bin").write_bytes(LARGE)

    gcloud("cp", sent / "Teil 1.jpg", sent / "large.bin", f"gs://{bucket.name}/new/")
    assert bucket.blob("new/Teil 1.jpg").download_as_bytes() == PICTURE
    assert existing(bucket, "new/Teil 1.jpg").content_type == "image/jpeg"

    gcloud("mv", f"gs://{bucket.name}/new/Teil 1.jpg", f"gs://{bucket.name}/moved.jpg")
    listed = gcloud("ls", f"gs://{bucket.name}/**").split("\n")
    assert listed[:2] == [f"gs://{bucket.name}/moved.jpg", f"gs://{bucket.name}/new/large.bin"]

    gcloud("cp", "-r", f"gs://{bucket.name}/*", received)
    assert (received / "moved.jpg").read_bytes() == PICTURE
    assert (received / "new" / "large.bin").read_bytes() == LARGE

    gcloud("rm", f"gs://{bucket.name}/**")
    assert list(bucket.list_blobs()) == []
