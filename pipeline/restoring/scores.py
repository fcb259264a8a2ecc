"""How good a restored image is, and how sure: columns of the result."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from diffpir import metrics
from diffpir.operators import Operator, luminance
from diffpir.posterior import Posterior, calibration, coverage
from pipeline.restoring.perceptual import PerceptualMetrics
from pipeline.restoring.problem import Problem, baseline_of

UNIT = 65535  # of 16 bits: what 1 is in the picture of a standard deviation


def scores_of(problem: Problem, x: Tensor, perceptual: PerceptualMetrics) -> dict:
    """Columns of the result: x (1, C, H, W) beside the reference, and what networks say of it."""
    reference = problem.reference
    if reference is not None:
        # Where x is: on a GPU, scores would keep one core busy for longer than the network.
        reference = reference.to(x.device)
        if 1 in (x.shape[1], reference.shape[1]):  # grey is compared with each of the others
            x, reference = torch.broadcast_tensors(x, reference)
    coloured = x.shape[1] == 3
    seen = perceptual(x, reference) if coloured else {}
    if reference is None:
        return seen
    baseline = baseline_of(problem).clamp(0, 1).to(x.device).expand_as(x)
    ssim = metrics.ssim(x, reference).item()
    return {
        "psnr": metrics.psnr(x, reference).item(),
        "psnr_y": metrics.psnr_y(x, reference).item() if coloured else None,
        "ssim": None if math.isnan(ssim) else ssim,
        "baseline_psnr": metrics.psnr(baseline, reference).item(),
        **seen,
    }


def error_bars(
    problem: Problem, operator: Operator, posterior: Posterior, scale: float
) -> tuple[dict, np.ndarray]:
    """Columns of the result, and the standard deviation at each pixel, (H, W) uint16.

    Args:
        problem, operator: what was restored.
        posterior: the samples.
        scale: how many times their deviation the error is.
    """
    outcome: dict = {}
    mean = problem.peak * operator.frame(posterior.mean[None])
    std = problem.peak * operator.frame(posterior.std[None])
    if problem.reference is not None:
        reference = problem.reference.to(mean.device)
        if problem.colours is not None and reference.shape[1] == 3:
            reference = luminance(device=mean.device).forward(reference)
        needed = calibration(mean, std, reference)
        outcome["uncertainty_scale"] = None if math.isnan(needed) else needed
        for name, deviations in (("within_1_std", 1), ("within_2_std", 2)):
            outcome[name] = coverage(mean, scale * std, reference, deviations)
    spread = scale * std[0, 0]
    outcome["uncertainty"] = spread.mean().item()
    picture = (spread * UNIT).round().clamp(0, UNIT).cpu().numpy().astype(np.uint16)
    return outcome, picture
