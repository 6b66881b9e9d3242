"""How much memory and time a data set takes, by its number of pictures.

    python tests/benchmarks/dataset_listing.py 100000 1000000

The names come as a bucket's listing would bring them; what is measured is everything after that: the catalogue, the checks
and the import file. Each size runs in a process of its own, so that its peak is its own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from automl.dataset.catalogue import Catalogue, Picture, Report
from automl.dataset.import_file import Format, write
from automl.dataset.split import Shares


def listed(count: int) -> Generator[Picture, None, None]:
    """Every thousandth picture is a copy of the one before."""
    for i in range(count):
        label = "defect" if i % 7 == 0 else "ok"
        name = f"{label}/2026-11-21/line-3/part_{i:09}.jpg"
        yield Picture(name=name, label=label, key=name, content=f"md5 of {i // 7 if i % 7000 == 1 else i:020}")


def measure(count: int) -> None:
    """Print one line of figures."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    report = Report()
    with Catalogue() as catalogue, tempfile.TemporaryDirectory() as folder:
        catalogue.add(listed(count))
        added = time.perf_counter()
        catalogue.check(report, Shares(validation=0.15, test=0.1), multi_label=False)
        checked = time.perf_counter()
        file = Path(folder) / "import.csv"
        with file.open("w", encoding="utf-8", newline="") as text:
            write(catalogue.rows("gs://bucket/"), text, form=Format.AUTOML_CSV, multi_label=False)
        written = time.perf_counter()
        size = file.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(  # noqa: T201  # a benchmark's result
        f"{count:>9,} pictures: {(peak - before) / 1024:6.1f} MB more memory at the peak; "
        f"{added - start:5.1f} s taking in, {checked - added:5.1f} s checking, {written - checked:5.1f} s writing "
        f"{size / 1e6:,.0f} MB; {report.pictures:,} kept"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--one":
        measure(int(sys.argv[2]))
    else:
        for size in sys.argv[1:] or ["100000", "1000000"]:
            subprocess.run([sys.executable, __file__, "--one", size], check=True)
