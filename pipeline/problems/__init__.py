"""The inverse problem that a row of a manifest poses."""
