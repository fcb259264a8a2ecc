"""Files that nobody vouches for are decoded in a child process (:mod:`pipeline.fence.decoders`)."""
