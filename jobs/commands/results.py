"""The commands on a job's results: metrics, compare, fid, verify, sheet, export."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import AllowCode, allowed_code, default_place, examples
from jobs.console import user_errors
from jobs.export.settings import Format, Settings
from jobs.tables import Style

app = typer.Typer()


@app.command(
    epilog=examples(
        "diffpir metrics out/",
        "diffpir metrics out/ --by camera --format markdown",
        "diffpir metrics s3://bucket/runs/1 --format json",
    )
)
def metrics(
    output: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
    by: Annotated[
        str | None,
        typer.Option(help="Column to group the rows by; sampler.nfe, say, is a part of one."),
    ] = None,
    format: Annotated[Style, typer.Option(help="How to print them.")] = Style.table,
) -> None:
    """Aggregate the metrics of a job's results: counts, mean, standard deviation, quantiles."""
    with user_errors():
        from jobs.aggregate import metrics_of
        from jobs.progress import unfinished
        from jobs.tables import print_records

        notes = [unfinished(output)]  # before it is read: what comes in between is no harm
        print_records(metrics_of(output, by), format)
    _say(notes)


@app.command(
    epilog=examples(
        "diffpir compare out1/ out2/",
        "diffpir compare out1/ out2/ out3/ --confidence 0.99 --format csv",
    )
)
def compare(
    a: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
    others: Annotated[
        list[str], typer.Argument(help="B, C, ...: other jobs' outputs, over the same images.")
    ],
    confidence: Annotated[
        float,
        typer.Option(
            min=0.5, max=0.9999, help="Probability of the interval of the mean difference."
        ),
    ] = 0.95,
    format: Annotated[Style, typer.Option(help="How to print it.")] = Style.table,
) -> None:
    """Compare runs image by image: differences B - A, C - A and so on, paired by id."""
    with user_errors():
        from jobs.compare import compare_several, letter
        from jobs.progress import unfinished
        from jobs.tables import print_records
        from manifests.storage import shown

        notes = [unfinished(output) for output in dict.fromkeys((a, *others))]
        records, counts = compare_several((a, *others), confidence)
        if len(others) == 1:
            records = [{k: v for k, v in r.items() if k != "run"} for r in records]
    print_records(records, format)
    for place, (output, count) in enumerate(zip(others, counts, strict=True), start=1):
        words = (
            "{both} ids in both (failed: {failed_a} in A, {failed_b} in B), {only_a} only in A, "
            "{only_b} only in B"
        ).format(**count)
        if len(others) > 1:
            words = f"{letter(place)} is {shown(output)}: {words.replace('B', letter(place))}"
        typer.echo(words, err=True)
    _say(notes)


@app.command(epilog=examples("diffpir fid out/", "diffpir fid out1/ out2/ --against stats.npz"))
def fid(
    outputs: Annotated[
        list[str], typer.Argument(help="Output folders or URIs of jobs, taken together as one set.")
    ],
    against: Annotated[
        str | None,
        typer.Option(
            help="Mean and covariance of another set (.npz: mu, sigma).",
            show_default="the references",
        ),
    ] = None,
    format: Annotated[Style, typer.Option(help="How to print it.")] = Style.table,
) -> None:
    """Fréchet and kernel inception distance of restored images, from features in the results."""
    with user_errors():
        from jobs.fid import distances
        from jobs.progress import unfinished
        from jobs.tables import print_records

        missing = [unfinished(output) for output in outputs]
        records, notes = distances(outputs, against)
    print_records(records, format)
    _say([*notes, *missing])


@app.command(epilog=examples("diffpir verify out/", "diffpir verify s3://bucket/runs/1"))
def verify(
    output: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
) -> None:
    """Check a job's results: every id once, every part whole. Exits with 3 if anything is wrong."""
    with user_errors():
        from jobs.verify import verify_output

        findings, text = verify_output(output)
    for finding in findings:
        typer.echo(finding)
    typer.echo(text, err=True)
    if findings:
        raise typer.Exit(3)


@app.command(
    epilog=examples("diffpir sheet out/", "diffpir sheet out1/ out2/ -o both.png --limit 6")
)
def sheet(
    outputs: Annotated[list[str], typer.Argument(help="Output folders or URIs of jobs.")],
    file: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Where the sheet is written, a path or URI (.png, .jpg, .webp).",
            show_default="sheet.png in the output, if it is one on this machine; else here",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="So many rows of each output, the first ones.")
    ] = 12,
    side: Annotated[
        int,
        typer.Option(
            min=64, max=2048, help="Width and height of a picture on the sheet, in pixels."
        ),
    ] = 256,
    allow_code: AllowCode = None,
) -> None:
    """Make a contact sheet: measured, restored, reference; of large pictures a part at 100 %."""
    with user_errors():
        from jobs.sheet import write_sheet
        from manifests import storage

        allowed = allowed_code(allow_code)
        file = file or default_place(outputs, "sheet.png")
        for text in write_sheet(outputs, file, limit=limit, side=side, allow_code=allowed):
            typer.echo(text, err=True)
    typer.echo(f"contact sheet: {storage.shown(file)}")


@app.command(
    epilog=examples(
        "diffpir export out/ dataset/ --with-measured",
        "diffpir export out/ s3://bucket/set --format webdataset",
        "diffpir export out/ pictures/ --format folder --only-ok",
    )
)
def export(
    output: Annotated[str, typer.Argument(help="A finished job's output folder or URI.")],
    dest: Annotated[str, typer.Argument(help="The dataset's folder or URI, empty or begun.")],
    format: Annotated[Format, typer.Option(help="Format of the dataset.")] = Format.parquet,
    file_mb: Annotated[
        float, typer.Option(min=0.01, max=4096, help="Size of each file, about, in megabytes.")
    ] = 500,
    with_measured: Annotated[
        bool,
        typer.Option(
            "--with-measured", help="Also write the measured pictures, which are read again."
        ),
    ] = False,
    only_ok: Annotated[
        bool, typer.Option("--only-ok", help="Leave out the rows that failed.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Names of the columns to keep, with commas between them; id and restored are "
            "always kept.",
            show_default="all",
        ),
    ] = None,
) -> None:
    """Write a finished job's results as a dataset to publish.

    The same command goes on where it was interrupted.
    """
    with user_errors():
        from jobs.export.run import export as write
        from manifests import storage

        names = None if columns is None else tuple(name.strip() for name in columns.split(","))
        settings = Settings(format, file_mb, with_measured, only_ok, names)
        done = write(output, dest, settings, say=lambda text: typer.echo(text, err=True))
    kept = f" ({done.kept} of them there already)" if done.kept else ""
    typer.echo(f"{done.rows} rows in {done.files} files{kept}: {storage.shown(dest)}")
    _say(
        [
            f"{done.left_out} failed rows left out" if done.left_out else None,
            f"{done.missing} measured pictures could not be read again" if done.missing else None,
            f"the first of them: {done.reason}" if done.reason else None,
        ]
    )


def _say(notes: list[str | None]) -> None:
    for note in filter(None, notes):
        typer.echo(note, err=True)
