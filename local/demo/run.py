"""Pictures through the whole line, and where they landed."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from google.cloud import storage
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.files import files_below, hidden_line
from console.transfer import print_uploaded, upload
from inspection.labels import HUMAN_DECIDED
from inspection.layout import DECIDED_AT, SOURCE
from local.cloud import LocalCloud
from local.demo.reviewer import ReviewError, decide_next
from local.demo.samples import TRUTH_FILE, read_truth, write_samples

SECONDS_WITHOUT_A_LANDING = 60
"""After so long without one more picture, the missing ones are taken for lost."""


def run_demo(cloud: LocalCloud, console: Console, *, images: Path | None, count: int, seed: int) -> bool:
    """Send pictures, wait until each has landed, print where, and decide on an unclear one; True if all went well.

    Args:
        cloud: a running one.
        console: where to print.
        images: a folder of pictures, or None for samples.
        count: of samples.
        seed: of samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        truth: Mapping[str, str] = {}
        if images is None:
            images = write_samples(Path(folder), count, seed)
            truth = read_truth(Path(folder) / TRUTH_FILE)
        left_out: list[str] = []
        hidden: list[Path] = []
        found = files_below(images, left_out.append, hidden.append)
        files = {path.relative_to(images).as_posix(): path for path in found}
        if hidden:
            console.print(hidden_line(hidden), markup=False, highlight=False, soft_wrap=True)
        for line in left_out:
            console.print(f"[red]left out:[/red] {escape(line)}", highlight=False, soft_wrap=True)
        started = time.monotonic()
        bucket = cloud.storage_client().bucket(cloud.inbound_bucket)
        print_uploaded(upload(((path, name) for name, path in files.items()), bucket), console)
        folders = wait_for_landing(cloud, files.keys(), console)
        seconds = time.monotonic() - started

    missing = sorted(files.keys() - folders.keys())
    console.print(_table(folders, truth))
    if truth:
        console.print("Right: the folder is the label that the generator of the samples gave.", highlight=False)
    console.print(
        f"{len(folders)} of {len(files)} pictures landed in gs://{cloud.prediction_bucket} "
        f"within {seconds:.1f} s of the first upload.",
        highlight=False,
        soft_wrap=True,
    )
    for name in missing:
        console.print(f"[red]missing:[/red] {escape(name)}", highlight=False)
    if missing:
        console.print(f"What the functions logged:\n{cloud.logs()}", markup=False, highlight=False)
    return not (missing or left_out) and show_decision(cloud, console)


def show_decision(cloud: LocalCloud, console: Console) -> bool:
    """Decide on one unclear picture through the review app, as its page does, and print where that went."""
    if cloud.review_url is None:
        console.print("Nobody reviews: the stack has no reviewers.")
        return True
    try:
        decided = decide_next(cloud.review_url)
    except ReviewError as error:
        console.print(f"[red]Error:[/red] {escape(str(error))}\n{escape(cloud.logs())}", highlight=False)
        return False
    if decided is None:
        console.print("No picture is unclear, so that there is nothing to review.")
        return True
    blobs = cloud.storage_client().list_blobs(cloud.prediction_bucket, prefix=f"{HUMAN_DECIDED}/")
    newest = max(blobs, key=_decided_at, default=None)
    if newest is None:
        console.print(f"[red]missing:[/red] {escape(decided.name)}, which was decided", highlight=False)
        return False
    console.print(
        f"{decided.reviewer} looked at {decided.name} and decided {decided.label!r}: "
        f"it is now gs://{cloud.prediction_bucket}/{newest.name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return True


def _decided_at(blob: storage.Blob) -> str:
    """Times in this form are in order as text."""
    return (blob.metadata or {}).get(DECIDED_AT, "")


def wait_for_landing(
    cloud: LocalCloud,
    names: AbstractSet[str],
    console: Console,
    *,
    seconds_without_a_landing: float = SECONDS_WITHOUT_A_LANDING,
) -> dict[str, str]:
    """The folder of each picture, when all have landed, or when nothing has for a minute."""
    bar = Progress(
        TextColumn("Pictures landed"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    landed: dict[str, str] = {}
    last = time.monotonic()
    with bar:
        task = bar.add_task("", total=len(names))
        while len(landed) < len(names) and time.monotonic() - last < seconds_without_a_landing:
            time.sleep(0.2)
            now = {name: folder for name, folder in landed_pictures(cloud).items() if name in names}
            if len(now) > len(landed):
                landed, last = now, time.monotonic()
                bar.update(task, completed=len(landed))
    return landed


def landed_pictures(cloud: LocalCloud) -> dict[str, str]:
    """The name that each picture of the prediction bucket had in the inbound bucket, and the folder it is in."""
    prefix = f"gs://{cloud.inbound_bucket}/"
    blobs = cloud.storage_client().list_blobs(
        cloud.prediction_bucket, fields="items(name,metadata),nextPageToken", projection="noAcl"
    )
    folders: dict[str, str] = {}
    for blob in blobs:
        source, _, _ = (blob.metadata or {}).get(SOURCE, "").rpartition("#")
        folders[source.removeprefix(prefix)] = blob.name.partition("/")[0]
    return folders


def _table(folders: Mapping[str, str], truth: Mapping[str, str]) -> Table:
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for name, folder in folders.items():
        by_folder[folder].append(name)
    table = Table()
    for heading in ("folder", "pictures", "right"):
        table.add_column(heading, justify="left" if heading == "folder" else "right")
    labels = set(truth.values())
    for folder, names in sorted(by_folder.items()):
        right = sum(truth.get(name) == folder for name in names) / len(names)
        table.add_row(f"{folder}/", str(len(names)), f"{right:.0%}" if folder in labels else "-")
    return table
