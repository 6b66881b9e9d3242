"""Log lines that Cloud Logging shows as fields.

One JSON object a line on standard error; `severity` and `message` are the keys that Cloud Logging knows
(https://cloud.google.com/logging/docs/structured-logging), the rest becomes `jsonPayload`.
"""

import json
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def structured_logger(name: str) -> logging.Logger:
    """A logger whose lines carry the fields given as `extra={"fields": {...}}`."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_JsonFormatter())
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger


class Steps:
    """How long each step of a request took, as fields `<step>_ms`."""

    def __init__(self) -> None:
        """No step has been taken yet."""
        self.fields: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Generator[None]:
        """Measure the block as one step, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.fields[f"{step}_ms"] = round((time.perf_counter() - start) * 1000, 1)
