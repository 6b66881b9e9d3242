"""`inspection dataset`: from labelled pictures, or from decisions, to an import file."""

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from automl.dataset.catalogue import Catalogue, Findings, Report
from automl.dataset.import_file import Format, write
from automl.dataset.sources import Folders, bucket_pictures, decided_pictures, local_pictures, parse_time
from automl.dataset.split import Set, Shares
from console.errors import fail, reported_errors
from console.progress import counting
from console.transfer import is_unicode, print_uploaded, split_uri, storage_client, upload

dataset_app = typer.Typer(no_args_is_help=True, help="Labelled pictures to an import file, ready to train on.")

_GS = "gs://"
_CONTENT_TYPES = {Format.AUTOML_CSV: "text/csv", Format.VERTEX_JSONL: "application/jsonl"}
_DEFAULT_VALIDATION = 0.15
_DEFAULT_TEST = 0.1

Out = Annotated[
    str,
    typer.Option(metavar="FILE|gs://...", help="The import file; one that is there already is replaced."),
]
Form = Annotated[Format, typer.Option("--format", help="What the service reads: AutoML Vision or Vertex AI.")]
Validation = Annotated[float, typer.Option(help="Share of the validation set.", min=0, max=1)]
TestShare = Annotated[float, typer.Option("--test", help="Share of the test set.", min=0, max=1)]
Unassigned = Annotated[
    bool, typer.Option("--unassigned", help="Leave the sets to the service, which draws them anew for each data set.")
]


@dataset_app.command()
def prepare(
    *,
    source: Annotated[str, typer.Argument(metavar="FOLDER|gs://BUCKET/PREFIX", help="Where the pictures are.")],
    out: Out,
    upload_to: Annotated[
        str | None, typer.Option(metavar="gs://BUCKET/PREFIX", help="Where a local folder's pictures go.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=FOLDER", help="What a folder means; again for each. Default: its name is the label."
        ),
    ] = None,
    validation: Validation = _DEFAULT_VALIDATION,
    test: TestShare = _DEFAULT_TEST,
    unassigned: Unassigned = False,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A picture in the folders of two labels has both.")
    ] = False,
    form: Form = Format.AUTOML_CSV,
    at_once: Annotated[int, typer.Option(help="Uploads at the same time.", min=1, max=10)] = 8,
) -> None:
    """
    From folders of labelled pictures to an import file.

    Folders called train, test and validation (or val) decide the sets; a set
    without a folder takes its share out of the rest. The share goes by the
    name: pictures that are added later never move others to another set.

    Nothing is uploaded or written if anything is wrong with the whole: copies
    under two labels or in two sets, too few of a label, files that are no
    image. An interrupted upload goes on when the same is asked again.

    \b
    Defective parts, with a folder for the test set:
      inspection dataset prepare casting_data \\
        --label Defect=def_front --label Ok=ok_front \\
        --upload-to gs://BUCKET/casting_data --out gs://BUCKET/casting.csv

    \b
    Two kinds of vehicles, already in a bucket:
      inspection dataset prepare gs://BUCKET --multi-label --unassigned \\
        --label mods=mods --label rockers=rockers \\
        --out gs://BUCKET/vehicles.csv

    \b
    For Vertex AI:
      inspection dataset prepare gs://BUCKET/parts --format vertex-jsonl \\
        --out parts.jsonl

    Exit code: 0 written, 1 refused or not all uploaded, 2 wrong usage.
    """  # noqa: D301  # \b is a real backspace: click's mark for lines to keep
    folders = Folders(_labels_by_folder(label or []))
    shares = _shares(validation, test, unassigned=unassigned)
    local = not source.startswith(_GS)
    uri_prefix = _uri_prefix(source, upload_to, local=local)
    _check_out(out)
    report = Report()
    report.expect(folders.labels)
    with reported_errors(), Catalogue() as catalogue:
        bucket_name, prefix = split_uri(uri_prefix)
        with counting("Looking at pictures" if local else "Listing pictures") as progress:
            catalogue.add(
                local_pictures(Path(source), folders, report, prefix=prefix, progress=progress)
                if local
                else bucket_pictures(storage_client().bucket(bucket_name), prefix, folders, report, progress=progress)
            )
        with Console(stderr=True).status("Checking"):
            catalogue.check(report, shares, multi_label=multi_label)
        _print_report(report)
        if report.problems:
            _refuse()
        if local:
            files = ((Path(source) / name, prefix + name) for name in catalogue.names())
            with counting("Uploading", report.pictures) as progress:
                uploaded = upload(files, storage_client().bucket(bucket_name), at_once=at_once, progress=progress)
            print_uploaded(uploaded)
            if uploaded.failed:
                raise typer.Exit(1)
        _write_out(catalogue, out, uri_prefix, form=form, multi_label=multi_label)


@dataset_app.command()
def decisions(
    *,
    bucket: Annotated[str, typer.Argument(metavar="gs://PREDICTION_BUCKET", help="Where reviewers' decisions land.")],
    out: Out,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only what was decided then or later: 2026-11-01 or 2026-11-01T06:00+01:00."),
    ] = None,
    validation: Validation = _DEFAULT_VALIDATION,
    test: TestShare = _DEFAULT_TEST,
    unassigned: Unassigned = False,
    adding: Annotated[
        bool, typer.Option("--adding", help="To a data set that has enough of each label: few decisions are no error.")
    ] = False,
    form: Form = Format.AUTOML_CSV,
) -> None:
    """
    From reviewers' decisions to an import file, to train again.

    The label is the decision as it stands in the object's metadata, whatever
    the picture is called. Its set follows from the name that the camera gave
    it. Pictures without a decision in their metadata are listed and left out.
    A TIME without an offset is UTC.

    \b
    Examples:
      inspection dataset decisions gs://PREDICTION_BUCKET \\
        --out gs://BUCKET/decisions.csv
      inspection dataset decisions gs://PREDICTION_BUCKET \\
        --since 2026-11-01 --adding --out new.csv

    Exit code: 0 written, 1 refused, 2 wrong usage.
    """  # noqa: D301  # as above
    bucket_name, path = _split(bucket, "PREDICTION_BUCKET")
    if path.strip("/"):
        raise typer.BadParameter(f"{bucket!r} names more than a bucket: give gs://{bucket_name}", param_hint="bucket")
    start = _time(since)
    shares = _shares(validation, test, unassigned=unassigned)
    _check_out(out)
    report = Report()
    with reported_errors(), Catalogue() as catalogue:
        with counting("Listing decisions") as progress:
            catalogue.add(decided_pictures(storage_client().bucket(bucket_name), start, report, progress=progress))
        with Console(stderr=True).status("Checking"):
            catalogue.check(report, shares, multi_label=False, adding=adding)
        _print_report(report)
        if report.problems:
            _refuse()
        _write_out(catalogue, out, f"{_GS}{bucket_name}/", form=form, multi_label=False)


def _labels_by_folder(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        label, equals, folder = pair.partition("=")
        if not (label and equals and folder.strip("/")):
            raise typer.BadParameter(f"{pair!r} is not LABEL=FOLDER, as in Defect=def_front", param_hint="--label")
        if not is_unicode(pair):
            raise typer.BadParameter(f"{pair!r} is not in UTF-8", param_hint="--label")
        if labels.setdefault(folder, label) != label:
            raise typer.BadParameter(
                f"the folder {folder!r} cannot be both {labels[folder]!r} and {label!r}", param_hint="--label"
            )
    return labels


def _shares(validation: float, test: float, *, unassigned: bool) -> Shares | None:
    try:
        shares = Shares(validation=validation, test=test)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--validation / --test") from None
    return None if unassigned else shares


def _uri_prefix(source: str, upload_to: str | None, *, local: bool) -> str:
    """What stands before each picture's name: `gs://bucket/`, and what all share, ending in `/`."""
    if local and not (source and Path(source).is_dir()):
        raise typer.BadParameter(f"{source!r} is no folder; give one, or gs://BUCKET/PREFIX", param_hint="source")
    if local and upload_to is None:
        raise typer.BadParameter(
            "pictures are trained on from a bucket: say where they go, as in gs://BUCKET/parts",
            param_hint="--upload-to",
        )
    if not local and upload_to is not None:
        raise typer.BadParameter(f"the pictures of {source} are in a bucket already", param_hint="--upload-to")
    where = source if upload_to is None else upload_to
    bucket, prefix = _split(where, "--upload-to" if local else "source")
    return f"{_GS}{bucket}/" + (prefix.rstrip("/") + "/" if prefix.strip("/") else "")


def _split(uri: str, what: str) -> tuple[str, str]:
    try:
        return split_uri(uri)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=what) from None


def _check_out(out: str) -> None:
    if out.startswith(_GS):
        if not _split(out, "--out")[1].strip("/"):
            raise typer.BadParameter(f"{out!r} names no object: give gs://BUCKET/FILE.csv", param_hint="--out")
    elif not Path(out).parent.is_dir() or Path(out).is_dir():
        raise typer.BadParameter(f"{out!r} is not a file in a folder that exists", param_hint="--out")


def _time(since: str | None) -> datetime | None:
    time = parse_time(since) if since is not None else None
    if since is not None and time is None:
        raise typer.BadParameter(
            f"{since!r} is no time: give a date (2026-11-01) or a time (2026-11-01T06:00+01:00)", param_hint="--since"
        )
    return time


def _refuse() -> NoReturn:
    fail("the data set is refused for the problems above; nothing was uploaded or written")


def _print_report(report: Report) -> None:
    console = Console()
    sets: list[Set | None] = list(Set)
    if any(counts[None] for counts in report.counts.values()):
        sets.append(None)
    table = Table("label", *(str(used_for or "left to the service") for used_for in sets), "all")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, counts in sorted(report.counts.items()):
        table.add_row(label, *(f"{counts[used_for]:,}" for used_for in sets), f"{counts.total():,}")
    if report.counts:
        console.print(table)
    console.print(f"{report.pictures:,} pictures", highlight=False)
    for degree, findings in (("Hint", report.hints), ("Warning", report.warnings), ("Problem", report.problems)):
        _print_findings(degree, findings)


def _print_findings(degree: str, findings: Findings) -> None:
    console = Console(stderr=True)
    for finding in findings:
        console.print(f"{degree}: {finding.what}", markup=False, highlight=False, soft_wrap=True)
        for example in finding.examples:
            console.print(f"  {example}", markup=False, highlight=False, soft_wrap=True)
        if unlisted := finding.count - len(finding.examples):
            console.print(f"  ... and {unlisted:,} more", highlight=False)


def _write_out(catalogue: Catalogue, out: str, prefix: str, *, form: Format, multi_label: bool) -> None:
    """All of it or nothing: it is written beside its place, and moved there when it is whole."""
    to_bucket = out.startswith(_GS)
    folder = None if to_bucket else Path(out).parent
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder) as scratch:
        file = Path(scratch) / "import"
        with (
            file.open("w", encoding="utf-8", newline="") as text,
            Console(stderr=True).status("Writing the import file"),
        ):
            write(catalogue.rows(prefix), text, form=form, multi_label=multi_label)
        if to_bucket:
            bucket, name = split_uri(out)
            blob = storage_client().bucket(bucket).blob(name)
            blob.upload_from_filename(str(file), content_type=_CONTENT_TYPES[form], checksum="crc32c")
        else:
            file.replace(out)
    console = Console()
    console.print(f"Written: {out}", markup=False, highlight=False, soft_wrap=True)
