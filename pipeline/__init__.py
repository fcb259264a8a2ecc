"""The Ray Data flow from a manifest to restored images and metrics in Parquet."""
