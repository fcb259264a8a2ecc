"""From rows to restored images: their problems, the sampler on batches of them, and scores."""
