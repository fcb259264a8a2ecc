"""Distances of two sets of images, from features of their images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class FeatureStatistics:
    """What the Fréchet distance needs of a set: enough to add sets up without their features.

    Attributes:
        count: of images.
        total: (D,) float64, the sum of their features.
        outer: (D, D) float64, the sum of the outer products of their features.
    """

    count: int
    total: np.ndarray
    outer: np.ndarray

    @staticmethod
    def of(features: np.ndarray) -> FeatureStatistics:
        """Of features (N, D)."""
        f = np.asarray(features, np.float64)
        return FeatureStatistics(len(f), f.sum(axis=0), f.T @ f)

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        return FeatureStatistics(
            self.count + other.count, self.total + other.total, self.outer + other.outer
        )

    @property
    def mean(self) -> np.ndarray:
        """(D,)"""
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), unbiased; of two images or more."""
        centred = self.outer - np.outer(self.total, self.mean)
        return centred / (self.count - 1)


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Between two normal distributions (Heusel et al. 2017, eq. 6): FID, of Inception's features.

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``. The trace of the root is taken from
    eigenvalues of the symmetric ``C_a^(1/2) C_b C_a^(1/2)``, which are real and not negative, also
    where there are fewer images than features.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    both = np.linalg.eigvalsh(root @ covariance_b @ root)
    trace = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(both.clip(min=0)).sum()
    return float(np.square(mean_a - mean_b).sum() + trace)


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Kernel inception distance (Binkowski et al. 2018): mean and standard deviation over subsets.

    The unbiased estimate of the squared maximum mean discrepancy under ``(x.y / D + 1)^3``.

    Args:
        a, b: features (N, D) and (M, D).
        subsets: how many are drawn of each, without replacement in one.
        size: of a subset, at most; no larger than the smaller set.
        seed: of the draws.
    """
    from torchmetrics.image.kid import poly_mmd

    size = min(size, len(a), len(b))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        one, other = (
            torch.from_numpy(x[rng.choice(len(x), size, replace=False)].astype(np.float64))
            for x in (a, b)
        )
        values.append(float(poly_mmd(one, other)))
    return float(np.mean(values)), float(np.std(values))
