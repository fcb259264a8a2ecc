"""LPIPS and Inception by their real libraries, with random weights: `scripts/test-perceptual`."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from diffpir.errors import CheckpointError, ConfigError
from diffpir.perceptual.inception import Inception
from diffpir.perceptual.libraries import library
from diffpir.perceptual.lpips import SOURCES, WINDOW, Lpips
from jobs.cli import app
from jobs.specfile import make_job
from pipeline.run import run_job
from tests.pictures import decoded, photograph


@pytest.fixture(scope="module", autouse=True)
def libraries():
    for name in ("lpips", "torch_fidelity"):
        try:
            library(name)
        except ConfigError as e:
            assert "DIFFPIR_REQUIRE_PERCEPTUAL" not in os.environ, e
            pytest.skip(str(e))


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    import torchvision

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    net = torchvision.models.alexnet(weights=None)
    # Without the classifier, which is nine tenths of it and not looked at.
    torch.save({"features." + k: v for k, v in net.features.state_dict().items()}, file)
    return file, net.features.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save({}, file)
    with pytest.MonkeyPatch.context() as m:  # the library makes no network without weights
        m.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        net = FeatureExtractorInceptionV3("", ["2048"], feature_extractor_weights_path=file)
    torch.save(net.state_dict(), file)
    return file, net


def test_lpips_is_the_weighted_distance_of_normalised_features(alexnet):
    file, backbone = alexnet
    lpips = Lpips("alex", file)
    a, b = torch.rand(2, 3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    x, y = ((z - mean) / std for z in (a, b))
    direct, layer = torch.zeros(3), 0
    for module in backbone:
        x, y = module(x), module(y)
        if isinstance(module, torch.nn.ReLU):
            weight = getattr(lpips.net, f"lin{layer}").model[1].weight
            units = [z / z.norm(dim=1, keepdim=True) for z in (x, y)]
            distance = (units[0] - units[1]).square()
            direct += (distance * weight[0]).sum(dim=1).mean(dim=(1, 2))
            layer += 1
    torch.testing.assert_close(lpips(a, b), direct, rtol=2e-3, atol=1e-5)
    assert lpips(a, a).abs().max() < 1e-6
    assert lpips(a[..., :31], b[..., :31]).isnan().all()


def test_a_large_image_is_seen_in_windows(alexnet):
    lpips = Lpips("alex", alexnet[0])
    a, b = torch.rand(2, 1, 3, 32, WINDOW + 200, generator=torch.Generator().manual_seed(1))
    half = (WINDOW + 200) // 2
    left, right = lpips(a[..., :half], b[..., :half]), lpips(a[..., half:], b[..., half:])
    torch.testing.assert_close(lpips(a, b), (left + right) / 2)


def test_weights_of_another_network_are_refused_with_what_to_fetch(alexnet, tmp_path):
    with pytest.raises(CheckpointError, match=SOURCES["vgg"]):
        Lpips("vgg", alexnet[0])
    with pytest.raises(CheckpointError, match="weights-inception"):
        Inception(alexnet[0])
    evil = tmp_path / "evil.pth"
    torch.save({"features.0.weight": pytest.approx}, evil)
    for network in (Inception, lambda file: Lpips("alex", file)):
        with pytest.raises(CheckpointError, match="nothing else is unpickled"):
            network(evil)


def test_inceptions_features_are_the_librarys(inception):
    file, net = inception
    x = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(2))
    seen = Inception(file)(x)
    assert seen.shape == (2, 2048) and seen.std() > 0
    assert torch.equal(seen, net((x * 255).round().to(torch.uint8))[0])


def test_a_job_scores_with_both_and_its_distances_are_read(
    alexnet, inception, tiny_model, tmp_path, ray_cluster
):
    for side in (40, 48):
        photograph(side, side).save(tmp_path / f"{side}.png")
    rows = [{"id": f"{side}", "image": f"{side}.png"} for side in (40, 48)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    job = {
        "manifest": f"{tmp_path}/m.jsonl",
        "output": f"{tmp_path}/out",
        "mode": "benchmark",
        "task": {"kind": "denoise", "noise_level": 0.1},
        "sampler": {"nfe": 2},
        "model": tiny_model,
        "actors": 1,
        "perceptual": {"lpips_alex": str(alexnet[0]), "inception": str(inception[0])},
    }
    run_job(make_job(job, "job"))
    for row in pq.read_table(tmp_path / "out/results").to_pylist():
        x, clean = (
            torch.tensor(decoded(data)).permute(2, 0, 1)[None].float() / 255
            for data in (row["restored"]["bytes"], (tmp_path / row["image"]).read_bytes())
        )
        expected = Lpips("alex", alexnet[0])(x, clean).item()
        assert row["lpips_alex"] == pytest.approx(expected, rel=1e-3) and row["lpips_vgg"] is None
        assert len(row["fid_features"]) == len(row["fid_reference_features"]) == 2048

    def said(*arguments):
        result = CliRunner().invoke(app, [*arguments, f"{tmp_path}/out", "--format", "csv"])
        assert result.exit_code == 0, result.output
        return result.output

    assert "lpips_alex" in said("metrics") and "lpips_vgg" not in said("metrics")
    assert "fid," in said("fid") and "2 images are too few" in said("fid")
