"""``python -m jobs``: the ``diffpir`` command where only the code is at hand."""

from jobs.cli import app

app(prog_name="diffpir")
