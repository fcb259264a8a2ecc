"""What a job is: one frozen, validated specification, passed whole (:mod:`pipeline.spec.job`)."""
