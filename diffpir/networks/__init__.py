"""Diffusion networks: the U-Net, networks of your own, and their use as denoisers."""
