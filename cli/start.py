"""The entry point of the `inspection` command: says in one line what is missing where it cannot start."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("automl", "cli", "console", "imaging", "inspection", "local")


def main() -> None:
    """Run the command line; exit code 1 outside a checkout, or where a package of the command is missing."""
    if not (ROOT / "infra" / "__main__.py").is_file():
        sys.exit(
            "Error: inspection runs from a checkout of its repository, which has the Pulumi program and the parts that "
            f"it deploys; {ROOT} has neither. Clone the repository, run `make setup` there and use .venv/bin/inspection."
        )
    try:
        from cli.main import main as run

        run()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ROOMS:
            raise
        sys.exit(f"Error: this environment lacks the Python package {error.name}. Run `make setup` in {ROOT}.")
