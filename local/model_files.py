"""The stack's model files and their history, kept from one start of the local cloud to the next.

A cloud's home is emptied at each start, but `modelId` in the stack's file still names a model file then.
"""

import hashlib
import json
import tempfile
from pathlib import Path

from google.cloud import storage

_INDEX = "index.json"


def keep_model_files(bucket: storage.Bucket, folder: Path) -> None:
    """Write the bucket's objects below `folder`; what lay there before is replaced in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, dict[str, object]] = {}
    for blob in bucket.list_blobs():
        data = blob.download_as_bytes()
        file = hashlib.sha256(data).hexdigest()
        if not (folder / file).exists():
            _replace(folder / file, data)
        index[blob.name] = {"file": file, "metadata": blob.metadata or {}, "contentType": blob.content_type}
    _replace(folder / _INDEX, json.dumps(index).encode())
    wanted = {_INDEX, *(str(entry["file"]) for entry in index.values())}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def restore_model_files(bucket: storage.Bucket, folder: Path) -> None:
    """Upload what :func:`keep_model_files` kept; an object that is there already stays as it is."""
    if not (folder / _INDEX).exists():
        return
    there = {blob.name for blob in bucket.list_blobs()}
    for name, entry in json.loads((folder / _INDEX).read_text()).items():
        if name not in there:
            blob = bucket.blob(name)
            blob.metadata = entry["metadata"]
            blob.upload_from_string((folder / entry["file"]).read_bytes(), content_type=entry["contentType"])


def _replace(file: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as scratch:
        scratch.write(data)
    Path(scratch.name).replace(file)
