"""A function as its server starts it."""

import os
from pathlib import Path

import functions_framework
from flask import Flask

ROOT = Path(__file__).parents[2]


def start_function(target: str, *, folder: Path = ROOT) -> Flask:
    """Start `functions/<target>/main.py` below `folder`; its clients read the environment when they are made."""
    # The framework sets both for good. What the function sets for its clients stays.
    kept = {key: os.environ.get(key) for key in ("FUNCTION_TARGET", "FUNCTION_SIGNATURE_TYPE")}
    try:
        app = functions_framework.create_app(target, str(folder / "functions" / target / "main.py"))
    finally:
        for key, value in kept.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
    assert isinstance(app, Flask)
    return app
