"""`modelId` in `Pulumi.<stack>.yaml`, set with everything else left as it stands."""

import re
import tempfile
from pathlib import Path

from automl.stack.config import StackConfigError, config_of, text_of
from inspection.names import PROJECT_NAME

MODEL_ID = f"{PROJECT_NAME}:modelId"

_LINE = re.compile(rf"^(?P<key>[ \t]+{MODEL_ID}:[ \t]*)[^\s#]*(?P<rest>[ \t]*(?:#[^\r\n]*)?)(?=\r?$)", re.MULTILINE)
_ONE_LINE = f"one is needed below `config:`, with whatever value: `  {MODEL_ID}: none`"


def check_model_id(file: Path) -> None:
    """Whether :func:`write_model_id` will find its place; to be asked before anything is done that costs.

    Raises:
        StackConfigError: it will not.
    """
    _changed(file, "ICN0")


def write_model_id(file: Path, model_id: str) -> None:
    """Let the stack's model be this one; every other byte of the file stays.

    Raises:
        StackConfigError: the file has no single line with the key, or cannot be read or written.
    """
    changed = _changed(file, model_id)
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-", delete=False) as scratch:
            scratch.write(changed.encode())
        Path(scratch.name).chmod(file.stat().st_mode)
        Path(scratch.name).replace(file)
    except OSError as error:
        raise StackConfigError(
            f"{file} cannot be written ({error}); put it there yourself: {MODEL_ID}: {model_id}"
        ) from error


def _changed(file: Path, model_id: str) -> str:
    text = text_of(file)
    config_of(text, file)
    changed, count = _LINE.subn(lambda found: f"{found['key'].rstrip()} {model_id}{found['rest']}", text)
    if count != 1:
        raise StackConfigError(f"{file} has {count} lines with {MODEL_ID}; {_ONE_LINE}")
    if config_of(changed, file).get(MODEL_ID) != model_id:
        raise StackConfigError(f"{file}: {MODEL_ID} does not stand directly below `config:`; {_ONE_LINE}")
    return changed
