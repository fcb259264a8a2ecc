"""Diffusion networks: guided-diffusion's U-Net, networks of your own, and their use as denoisers."""
