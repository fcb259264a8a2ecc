"""The prior that a job names: a file, a known name, the Hugging Face Hub, or a user's factory."""
