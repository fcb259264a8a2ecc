"""Restoration of images that are in memory, in one call and without Ray."""
