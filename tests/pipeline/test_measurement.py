"""What is told from a measurement alone, for tasks that measure otherwise than pictures are."""

import numpy as np
import pytest
import torch

from diffpir.operators import bayer, luminance
from pipeline.errors import RowError
from pipeline.tasks.colorize import Colorize
from pipeline.tasks.demosaic import Demosaic
from pipeline.tasks.inpaint import InpaintTask
from pipeline.tasks.row import to_tensor
from tests.pictures import photograph

SCENE = to_tensor(np.asarray(photograph(256, 255))) * 0.8 + 0.1


@pytest.mark.parametrize(
    "task, measure",
    [
        (Demosaic(kind="demosaic"), bayer(255, 256, "rggb").forward),
        (Colorize(kind="colorize"), luminance().forward),
    ],
)
def test_noise_of_one_channel_is_told(task, measure):
    y = measure(SCENE)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert task.estimated_noise(y + 0.05 * noise, {}) == pytest.approx(0.05, rel=0.15)


def test_noise_under_a_mask_that_leaves_too_little_is_the_rows_fault():
    mask = torch.zeros(1, 1, 255, 256)
    mask[..., ::2, ::2] = 1  # no two neighbours
    with pytest.raises(RowError, match=r"noise_level: auto: .* only 0 windows") as e:
        InpaintTask(kind="inpaint").estimated_noise(SCENE * mask, {"mask": mask[0].numpy()})
    assert e.value.kind == "missing_input"
