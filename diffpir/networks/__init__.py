"""Diffusion networks: the guided-diffusion U-Net, its checkpoints, and their use as denoisers."""
