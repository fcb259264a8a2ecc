"""``diffpir export``: a finished job's results as a dataset in a form that people publish."""
