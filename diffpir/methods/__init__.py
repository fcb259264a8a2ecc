"""The methods that DiffPIR is measured against, on the same measurements, prior and noise.

Each is one function of the shape of :func:`diffpir.sampler.sample`, in a module of its own, after
its authors' code. :mod:`diffpir.rivals` says what each needs.
"""
