"""Kills whatever a job runs on, again and again, and compares its results with a quiet run's.

``python -m tests.chaos --kills 100 --storage local|s3 --seconds 1800`` (Linux only: it finds its
victims in /proc). The system under test is known by its contract alone: the command, its exit codes
and the files ``results/*.parquet``.
"""
