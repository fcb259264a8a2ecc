"""What a job would do and how long it would take, found on a few small crops."""
