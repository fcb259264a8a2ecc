"""What was published of DiffPIR, and the settings that it was measured with.

The paper (arXiv 2305.08995): means over 100 pictures of 256 x 256. The five faces: its authors'
demo pictures, recorded by others with their code and ``ffhq_10m.pt``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Dataset = Literal["ffhq", "imagenet", "faces"]
GAUSSIAN = {"kind": "deblur", "kernel": {"gaussian": {"size": 61, "std": 3.0}}}
MOTION = {"kind": "deblur", "kernel": {"motion": {"size": 61, "intensity": 0.5}}}
SR4 = {"kind": "sr", "factor": 4}
RANDOM = {"kind": "inpaint", "mask": {"random": 0.5}}
BOX = 128  # side in pixels of what the box hides


@dataclass(frozen=True, kw_only=True)
class Published:
    """A line of a table.

    Attributes:
        name: of the line, and of the folder of its results.
        task: as of a job; None for a box that is hidden.
        noise: standard deviation, on [0, 1].
        preset: the sampler's settings.
        psnr, ssim, lpips, fid: published means; None where there is none.
        remark: what is not as in the paper.
    """

    name: str
    task: dict[str, Any] | None
    noise: float
    preset: str
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    fid: float | None = None
    remark: str = ""


def _line(
    name: str,
    task: dict[str, Any] | None,
    noise: float,
    preset: str,
    psnr: float | None = None,
    lpips: float | None = None,
    fid: float | None = None,
    ssim: float | None = None,
    remark: str = "",
) -> Published:
    return Published(
        name=name, task=task, noise=noise, preset=preset,
        psnr=psnr, ssim=ssim, lpips=lpips, fid=fid, remark=remark,
    )  # fmt: skip


_OTHERS = "noiseless settings as others recorded them"
_FFHQS = "settings of FFHQ; the paper's for ImageNet are not known"
PUBLISHED: dict[tuple[Dataset, int], tuple[Published, ...]] = {
    ("ffhq", 100): (
        _line("sr4", SR4, 0.05, "ffhq-sr4", 26.64, 0.260, 65.77),
        _line("gaussian", GAUSSIAN, 0.05, "ffhq-deblur-gaussian", 27.36, 0.236, 59.65),
        _line("motion", MOTION, 0.05, "ffhq-deblur-motion", 26.57, 0.255, 65.78),
        _line("sr4-noiseless", SR4, 0.0, "ffhq-sr4-noiseless", 29.52, 0.174, 47.80, remark=_OTHERS),
        _line(
            "gaussian-noiseless",
            GAUSSIAN,
            0.0,
            "ffhq-deblur-gaussian-noiseless",
            31.00,
            0.152,
            39.27,
            remark=_OTHERS,
        ),
        _line(
            "motion-noiseless",
            MOTION,
            0.0,
            "ffhq-deblur-motion-noiseless",
            37.53,
            0.064,
            11.54,
            remark=_OTHERS,
        ),
        _line("box", None, 0.0, "ffhq-inpaint-box", None, 0.107, 25.64),
        _line("random", RANDOM, 0.0, "ffhq-inpaint-random", 36.17, 0.066, 13.68),
    ),
    ("ffhq", 20): (
        _line(
            "sr4-noiseless", SR4, 0.0, "ffhq-sr4-noiseless-20", 29.17, 0.187, 58.02, remark=_OTHERS
        ),
        _line(
            "gaussian-noiseless",
            GAUSSIAN,
            0.0,
            "ffhq-deblur-gaussian-noiseless-20",
            30.74,
            0.170,
            46.64,
            remark=_OTHERS,
        ),
        _line(
            "motion-noiseless",
            MOTION,
            0.0,
            "ffhq-deblur-motion-noiseless-20",
            37.03,
            0.084,
            20.11,
            remark=_OTHERS,
        ),
        _line("random", RANDOM, 0.0, "ffhq-inpaint-random-20", 34.03, 0.116, 30.81),
    ),
    ("imagenet", 100): (
        _line("sr4", SR4, 0.05, "imagenet-sr4", 23.18, 0.371, 106.32),
        _line(
            "gaussian", GAUSSIAN, 0.05, "ffhq-deblur-gaussian", 22.80, 0.355, 93.36, remark=_FFHQS
        ),
        _line("motion", MOTION, 0.05, "ffhq-deblur-motion", 24.01, 0.366, 124.63, remark=_FFHQS),
    ),
    ("faces", 100): (
        _line("sr4", SR4, 0.05, "ffhq-sr4", 25.128, 0.2575, ssim=0.7526),
        _line("gaussian", GAUSSIAN, 0.05, "ffhq-deblur-gaussian", 26.064, 0.2222, ssim=0.79),
        _line("motion", MOTION, 0.05, "ffhq-deblur-motion", 26.121, 0.2310, ssim=0.7866),
        _line("sr4-noiseless", SR4, 0.0, "ffhq-sr4-noiseless", 27.529, 0.1740, ssim=0.8535),
        _line(
            "gaussian-noiseless",
            GAUSSIAN,
            0.0,
            "ffhq-deblur-gaussian-noiseless",
            29.108,
            0.1564,
            ssim=0.8784,
        ),
        _line(
            "motion-noiseless",
            MOTION,
            0.0,
            "ffhq-deblur-motion-noiseless",
            36.427,
            0.0916,
            ssim=0.9495,
        ),
    ),
    ("faces", 20): (
        _line("sr4", SR4, 0.05, "ffhq-sr4-20", 25.352, 0.2761, ssim=0.7522),
        _line("gaussian", GAUSSIAN, 0.05, "ffhq-deblur-gaussian-20", 25.603, 0.2589, ssim=0.7495),
        _line("motion", MOTION, 0.05, "ffhq-deblur-motion-20", 26.629, 0.2426, ssim=0.7955),
        _line("sr4-noiseless", SR4, 0.0, "ffhq-sr4-noiseless-20", 26.980, 0.1957, ssim=0.8368),
        _line(
            "gaussian-noiseless",
            GAUSSIAN,
            0.0,
            "ffhq-deblur-gaussian-noiseless-20",
            28.731,
            0.1861,
            ssim=0.8532,
        ),
        _line(
            "motion-noiseless",
            MOTION,
            0.0,
            "ffhq-deblur-motion-noiseless-20",
            35.874,
            0.1148,
            ssim=0.9393,
        ),
        _line(
            "random",
            RANDOM,
            0.0,
            "ffhq-inpaint-random-20",
            32.828,
            0.1229,
            ssim=0.9388,
            remark="recorded of three of the five",
        ),
    ),
}
# The 100 pictures of FFHQ that the authors restored.
FFHQ_TEST = frozenset(f"{number:05d}" for number in range(69007, 70000, 10))
