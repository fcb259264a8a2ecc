"""Where a manifest's rows come from: a module for each kind of file, and what they share."""
