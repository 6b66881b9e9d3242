"""`modelId` in `Pulumi.<stack>.yaml`, set with everything else left as it stands."""

import re
import tempfile
from pathlib import Path

from automl.stack_config import PROJECT, StackConfigError

MODEL_ID = f"{PROJECT}:modelId"

_LINE = re.compile(rf"^(?P<key>[ \t]+{MODEL_ID}:[ \t]*)[^\s#]*(?P<rest>[ \t]*(?:#[^\r\n]*)?)(?=\r?$)", re.MULTILINE)


def write_model_id(file: Path, model_id: str) -> None:
    """Let the stack's model be this one; every other byte of the file stays.

    Raises:
        StackConfigError: the file has no single line with the key.
        OSError: it cannot be read or written.
    """
    text = file.read_bytes().decode()
    changed, count = _LINE.subn(lambda found: f"{found['key'].rstrip()} {model_id}{found['rest']}", text)
    if count != 1:
        raise StackConfigError(
            f"{file} has {count} lines with {MODEL_ID}; put it there yourself: {MODEL_ID}: {model_id}"
        )
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-", delete=False) as scratch:
        scratch.write(changed.encode())
    Path(scratch.name).chmod(file.stat().st_mode)
    Path(scratch.name).replace(file)
