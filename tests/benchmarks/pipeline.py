"""What one image costs: requests, and time from upload to landing; counted and measured at the local cloud.

python -m tests.benchmarks.pipeline [COUNT]
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from inspection.layout import SOURCE
from local.cloud import LocalCloud
from local.demo.run import wait_for_landing
from local.demo.samples import samples
from local.deploy.provider import STORAGE_AGENT
from local.deploy.runner import Program
from local.google.gate import Call, RequestLog
from local.google.permissions import INVOKE

IMAGES = 200
IMPORT_RUNS = 5
MICROSECONDS = 1_000_000

console = Console()


class InWork(RequestLog):
    """Counts requests, and the images between predict's reading and move's deleting."""

    def __init__(self) -> None:
        super().__init__()
        self._images: set[str] = set()
        self.peak = 0

    def enter(self, call: Call) -> None:
        super().enter(call)
        if call.method == "storage.objects.get" and call.identity and call.object:
            self._images.add(call.object)
            self.peak = max(self.peak, len(self._images))

    def leave(self, call: Call) -> None:
        super().leave(call)
        if call.method == "storage.objects.delete" and call.object:
            self._images.discard(call.object)

    def clear(self) -> None:
        super().clear()
        self.peak = 0


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    log = InWork()
    with tempfile.TemporaryDirectory() as home, LocalCloud(Path(home), gate=log) as cloud:
        with console.status("Starting the local cloud"):
            cloud.start(lambda _: None)
        send(cloud, "warm up", 4)  # the first image of each process pays for what is loaded lazily
        log.clear()
        seconds = send(cloud, "measured", count)
        console.print(requests_table(log, count))
        ways = milliseconds_of_way(cloud, "measured/")
        table = Table("figure", "value", title=f"{count} images through the pipeline")
        table.add_row("images a second", f"{count / seconds:.1f}")
        table.add_row("upload to landing, p50", f"{statistics.median(ways):.0f} ms")
        table.add_row("upload to landing, p95", f"{statistics.quantiles(ways, n=20)[-1]:.0f} ms")
        table.add_row("images in work at once, peak", str(log.peak))
        for name, milliseconds in import_times(cloud).items():
            table.add_row(f"import of {name}, median of {IMPORT_RUNS}", f"{milliseconds:.0f} ms")
        console.print(table)


def send(cloud: LocalCloud, folder: str, count: int) -> float:
    """Upload pictures one after the other, as a camera does; seconds until the last has landed."""
    bucket = cloud.storage_client().bucket(cloud.inbound_bucket)
    pictures = {f"{folder}/{sample.name}": sample.jpeg for sample in samples(count, seed=11)}
    started = time.monotonic()
    for name, jpeg in pictures.items():
        bucket.blob(name).upload_from_string(jpeg, content_type="image/jpeg", if_generation_match=0)
    landed = wait_for_landing(cloud, pictures.keys(), console)
    if len(landed) != count:
        sys.exit(f"{count - len(landed)} of {count} images did not land:\n{cloud.logs()}")
    return time.monotonic() - started


def requests_table(log: RequestLog, count: int) -> Table:
    """The requests for an image, by part and method."""
    counts: Counter[tuple[str, str]] = Counter()
    for (identity, method), number in log.counts().items():
        # Less the requests that Google makes itself: notifications and pushes.
        if identity and identity != STORAGE_AGENT and method != INVOKE:
            counts[identity.partition("@")[0], method] += number
    table = Table("part", "request", "for an image", title="Requests")
    for (part, method), number in sorted(counts.items()):
        table.add_row(part, method, f"{number / count:.2f}")
    table.add_row("together", "", f"{counts.total() / count:.2f}", style="bold")
    return table


def milliseconds_of_way(cloud: LocalCloud, prefix: str) -> list[float]:
    """From upload to landing; a generation is the moment of its creation in microseconds."""
    source = f"gs://{cloud.inbound_bucket}/{prefix}"
    ways: list[float] = []
    for blob in cloud.storage_client().list_blobs(cloud.prediction_bucket):
        came_from = (blob.metadata or {}).get(SOURCE, "")
        if came_from.startswith(source):
            uploaded = int(came_from.rpartition("#")[2])
            ways.append(((blob.generation or 0) - uploaded) * 1000 / MICROSECONDS)
    return ways


def import_times(cloud: LocalCloud) -> dict[str, float]:
    """How long a fresh process of each program imports its `main`, less Python's own start; milliseconds."""
    times: dict[str, float] = {}
    for name, program in cloud.programs().items():
        main = "main" if (program.folder / "main.py").exists() else "webapp.main"
        runs = [
            _seconds([program.python, "-c", f"import {main}"], program) - _seconds([program.python, "-c", ""], program)
            for _ in range(IMPORT_RUNS)
        ]
        times[name] = statistics.median(runs) * 1000
    return times


def _seconds(command: list[str], program: Program) -> float:
    started = time.monotonic()
    subprocess.run(command, cwd=program.folder, env=program.env, check=True, capture_output=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
