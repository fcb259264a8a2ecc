"""The CPU steps of the flow: each maps a table of rows to a table, and knows nothing of Ray."""
