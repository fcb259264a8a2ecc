"""Manifests: tables that name the images of a job. Building, reading and checking them."""
