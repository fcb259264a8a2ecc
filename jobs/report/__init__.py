"""``diffpir report``: a run's pictures and numbers as one HTML page, in a file or live."""
