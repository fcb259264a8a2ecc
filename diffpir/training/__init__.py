"""Fitting a small diffusion prior to photographs."""
