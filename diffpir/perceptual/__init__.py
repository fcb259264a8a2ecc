"""Scores by what a network sees in images: LPIPS, and the features of FID and KID."""
