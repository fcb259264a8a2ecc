"""The commands: each parses, calls, prints. Heavy imports wait until one needs them."""
