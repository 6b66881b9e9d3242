"""Every single request of the line made to fail, each way there is; then no picture may be lost, doubled or overwritten.

python -m proof.losses
"""

import tempfile
import time
from pathlib import Path

from proof.losses_matrix import matrix
from proof.losses_report import describe, table
from proof.losses_stage import running_line
from proof.report import finish, report_console


def main() -> None:
    """Print the report; exit code 1 if a picture was lost, doubled or overwritten."""
    console = report_console()
    with tempfile.TemporaryDirectory() as folder, running_line(Path(folder)) as line:
        started = time.monotonic()
        with console.status("Failing each request in each way"):
            cells = list(matrix(line))
        seconds = time.monotonic() - started
    console.print(table(cells))
    console.print("kept: as a dead letter that says why, and in its place once it was sent again")
    failed = [cell for cell in cells if cell.problems]
    for cell in failed:
        console.print(describe(cell), style="red", markup=False)
    requests = len({(cell.step.scenario.name, cell.step.number) for cell in cells})
    finish(
        console,
        f"{len(cells):,} ways for {requests} requests of predict, move and the review app to fail, {seconds:.0f} s: "
        f"{len(failed)} pictures lost, doubled, changed or stuck",
        holds=not failed,
    )


if __name__ == "__main__":
    main()
