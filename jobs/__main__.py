"""``python -m jobs``: the ``diffpir`` command where only the code is at hand."""

from jobs.cli import main

main()
