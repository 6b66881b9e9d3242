"""A data set in the making: every picture found, what is wrong with the whole, and who goes into which set.

A million pictures fit: they are kept in a temporary file (SQLite) and never all in memory. First everything is
added, then `check` looks at the whole, then `rows` gives the lines of the import file, sorted by name.
"""

import itertools
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from automl.dataset.import_file import Row
from automl.dataset.split import FOLDERS, Set, Shares, place
from inspection.labels import LABEL_RULE, MAX_LABELS, is_label

LEAST_PICTURES = 10
"""Of each label; with fewer neither service trains (AutoML Vision: "at least 10 images")."""

RECOMMENDED_PICTURES = 1000
MOST_COMMON_TO_RAREST = 100
"""Of pictures of the most common label to those of the rarest, as recommended by Google."""

MAX_PICTURE_BYTES = 30_000_000
"""Google's limit for a picture to train on."""

MAX_LISTED = 50
"""Lines shown of each kind of finding; the rest is counted."""

_BATCH = 5000
_COPIES_SHOWN = 4
_NUL = "\0"
"""Between the labels of one picture; no label contains it."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A labelled picture as it was found."""

    name: str
    """Unique, and without the part that all have in common; `Catalogue.rows` puts that in front."""
    label: str
    key: str
    """What decides its set where no folder does; other pictures of the label have others."""
    content: str
    """Equal for equal bytes: a checksum, and whatever else is known."""
    folder_set: Set | None = None


@dataclass
class Finding:
    """One kind of thing that was found, and where."""

    what: str
    examples: list[str] = field(default_factory=list[str])
    count: int = 0

    def add(self, example: str) -> None:
        """One more; the first `MAX_LISTED` are kept."""
        self.count += 1
        if len(self.examples) < MAX_LISTED:
            self.examples.append(example)


@dataclass
class Findings:
    """What was found of one degree, by kind, in the order found."""

    kinds: dict[str, Finding] = field(default_factory=dict[str, Finding])

    def add(self, what: str, example: str) -> None:
        """One more of that kind."""
        self.kinds.setdefault(what, Finding(what)).add(example)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.kinds.values())


@dataclass
class Report:
    """What a data set holds and what speaks against it."""

    problems: Findings = field(default_factory=Findings)
    """With any of these the data set is refused."""
    warnings: Findings = field(default_factory=Findings)
    hints: Findings = field(default_factory=Findings)
    counts: dict[str, Counter[Set | None]] = field(default_factory=dict[str, Counter[Set | None]])
    """Pictures for each label and set; one with two labels counts for both."""
    pictures: int = 0

    def expect(self, labels: Iterable[str]) -> None:
        """Count these labels even where no picture has them."""
        for label in labels:
            self.counts.setdefault(label, Counter())


class Catalogue:
    """All pictures of a data set, on disk. Use it as a context manager: the file goes at the end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dataset-")
        self._database = sqlite3.connect(Path(self._folder.name) / "pictures.db", isolation_level=None)
        # Nothing here outlives the process: no journal, no waiting for the disk; and sorting happens on disk too.
        self._database.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
            CREATE TABLE pictures (name TEXT, labels TEXT, place REAL, content TEXT, folder_set TEXT, used_for TEXT);
            CREATE TABLE merged (picture INTEGER, labels TEXT);
            CREATE TABLE copies (picture INTEGER);
            """
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._folder.cleanup()

    def add(self, pictures: Iterable[Picture]) -> None:
        """Take in all of them."""
        rows = ((p.name, p.label, place(p.key), p.content, p.folder_set) for p in pictures)
        while batch := list(itertools.islice(rows, _BATCH)):
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, NULL)", batch)
            self._database.execute("COMMIT")

    def check(self, report: Report, shares: Shares | None, *, multi_label: bool, adding: bool = False) -> None:
        """Decide every picture's set, and find what is wrong with the whole; once, after everything was added.

        Several copies of one picture with the same label become one picture. `shares` is None where the service
        chooses the sets. `adding`: to a data set that has enough of each label without these.
        """
        self._database.execute("CREATE INDEX by_content ON pictures (content, name)")
        self._merge_copies(report, multi_label=multi_label)
        self._assign(report, shares)
        self._count(report)
        _judge_labels(report)
        _judge_totals(report, multi_label=multi_label, adding=adding)
        if shares:
            _judge_sets(report, shares)

    def names(self) -> Generator[str, None, None]:
        """The pictures' names, sorted."""
        for (name,) in self._select("SELECT name FROM pictures ORDER BY name"):
            yield name

    def rows(self, prefix: str) -> Generator[Row, None, None]:
        """The lines of the import file, sorted by name; `prefix` is `gs://bucket/` and what all names share."""
        for name, labels, used_for in self._select("SELECT name, labels, used_for FROM pictures ORDER BY name"):
            yield Row(
                uri=prefix + name, labels=tuple(labels.split(_NUL)), set=Set(used_for) if used_for is not None else None
            )

    def _select(self, query: str) -> Iterator[tuple[Any, ...]]:
        return self._database.execute(query)

    def _merge_copies(self, report: Report, *, multi_label: bool) -> None:
        rows = self._select(
            """
            SELECT content, rowid, name, labels, folder_set FROM pictures
            WHERE content IN (SELECT content FROM pictures GROUP BY content HAVING COUNT(*) > 1)
            ORDER BY content, name
            """
        )
        for _, group in itertools.groupby(rows, key=itemgetter(0)):
            _, ids, names, labels, folder_sets = zip(*group, strict=True)
            where = " = ".join(names[:_COPIES_SHOWN]) + (" = ..." if len(names) > _COPIES_SHOWN else "")
            if len(set(folder_sets)) > 1:
                report.problems.add("the same picture in two sets: keep one of them", where)
            if not multi_label and len(set(labels)) > 1:
                report.problems.add(
                    "the same picture under two labels: keep the right one (or say --multi-label)",
                    f"{where} ({', '.join(sorted(set(labels)))})",
                )
                continue
            kind = "the same picture more than once: taken once, under its first name"
            if not multi_label or len(names) > len(set(labels)):
                report.hints.add(kind, where)
            # No label is left out: with several allowed, a picture in two folders has two.
            self._database.execute("INSERT INTO merged VALUES (?, ?)", (ids[0], _NUL.join(sorted(set(labels)))))
            self._database.executemany("INSERT INTO copies VALUES (?)", ((copy,) for copy in ids[1:]))
        self._database.executescript(
            """
            UPDATE pictures SET labels = merged.labels FROM merged WHERE pictures.rowid = merged.picture;
            DELETE FROM pictures WHERE rowid IN (SELECT picture FROM copies);
            """
        )

    def _assign(self, report: Report, shares: Shares | None) -> None:
        folder_sets = {used_for for (used_for,) in self._select("SELECT DISTINCT folder_set FROM pictures")}
        by_folder = folder_sets - {None}
        if by_folder and None in folder_sets:
            for (name,) in self._select("SELECT name FROM pictures WHERE folder_set IS NULL ORDER BY name"):
                report.problems.add(f"in none of the folders {', '.join(sorted(FOLDERS))}, though others are", name)
        if shares is None:
            self._database.execute("UPDATE pictures SET used_for = folder_set")
            return
        # A set that has a folder is what the folder holds; the others take their share out of the rest.
        for used_for, share in ((Set.VALIDATION, shares.validation), (Set.TEST, shares.test)):
            if used_for in by_folder and share:
                report.hints.add(f"the {used_for} set is its folder; no share is added to it", f"not used: {share:g}")
        left = Shares(
            validation=0 if Set.VALIDATION in by_folder else shares.validation,
            test=0 if Set.TEST in by_folder else shares.test,
        )
        self._database.create_function("set_at", 1, left.set_at, deterministic=True)
        self._database.execute(
            """
            UPDATE pictures SET used_for =
            CASE WHEN folder_set IN ('validation', 'test') THEN folder_set ELSE set_at(place) END
            """
        )

    def _count(self, report: Report) -> None:
        groups = self._select("SELECT labels, used_for, COUNT(*) FROM pictures GROUP BY labels, used_for")
        for labels, used_for, count in groups:
            report.pictures += count
            for label in labels.split(_NUL):
                report.counts.setdefault(label, Counter())[Set(used_for) if used_for else None] += count


def _judge_labels(report: Report) -> None:
    if not report.pictures:
        report.problems.add("there is no picture", "check the address, and --label if it was given")
    for label in sorted(report.counts):
        if not is_label(label):
            report.problems.add(f"a label that is not allowed; one has {LABEL_RULE}", repr(label))
    if (count := len(report.counts)) > MAX_LABELS:
        report.problems.add(f"more than {MAX_LABELS} labels; the review page has no keys for more", str(count))


def _judge_totals(report: Report, *, multi_label: bool, adding: bool) -> None:
    totals = {label: counts.total() for label, counts in sorted(report.counts.items())}
    if not totals:
        return
    too_few = report.warnings if adding else report.problems
    if len(totals) == 1 and not multi_label:
        too_few.add("only one label: a model needs two to tell apart", *totals)
    for label, total in totals.items():
        if total < LEAST_PICTURES:
            too_few.add(f"fewer than {LEAST_PICTURES} pictures of a label", f"{label}: {total}")
        elif total < RECOMMENDED_PICTURES:
            report.hints.add(f"{RECOMMENDED_PICTURES:,} pictures of each label are recommended", f"{label}: {total:,}")
    common, rare = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
    if totals[common] > MOST_COMMON_TO_RAREST * totals[rare]:
        report.warnings.add(
            f"more than {MOST_COMMON_TO_RAREST} to 1 between labels; the model may never say the rare one",
            f"{common}: {totals[common]:,}, {rare}: {totals[rare]:,}",
        )


def _judge_sets(report: Report, shares: Shares) -> None:
    wanted = {Set.TRAINING: 1.0, Set.VALIDATION: shares.validation, Set.TEST: shares.test}
    for label, counts in sorted(report.counts.items()):
        for used_for, share in wanted.items():
            if share and counts and not counts[used_for]:
                report.warnings.add(
                    "no picture of a label in a set; the fewer pictures, the more chance decides: add some",
                    f"{label}: none for {used_for}",
                )
