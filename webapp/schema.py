"""Writes the API's schema: `python -m webapp.schema`. The page's types are generated from it, and a test compares."""

import json
from pathlib import Path

from webapp.main import api_app

SCHEMA = Path(__file__).parent / "openapi.json"


def schema_text() -> str:
    """The schema as it belongs into :data:`SCHEMA`."""
    app = api_app()
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
