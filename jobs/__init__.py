"""The command line: job files, runs, reports."""
