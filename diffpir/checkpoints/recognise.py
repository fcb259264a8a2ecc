"""What a file that holds no prior seems to be, and what would work instead."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

FACTORY = "to use it all the same, a factory of your own can be the model"
LATENT = "priors work on pixels, and it works on latents"
LATENT_PARTS = re.compile(r"(^|\.)(first_stage_model|cond_stage_model|conditioner)\.", re.M)
# Patterns of its tensors' names, all of which are there -> what it seems to be. The first counts.
KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (r"lora[._]?(up|down|A|B|te|unet)\b|\.lora\.|lora_(up|down|A|B|te|unet)",),
        "a LoRA, which changes another network a little and is none by itself: give the network "
        "that it was merged into",
    ),
    (
        (
            r"(^|\.)(first_stage_model|cond_stage_model|conditioner)\.|attn2\.to_k|(^|\.)joint_blocks\.|"
            r"(^|\.)double_blocks\.",
        ),
        f"a network of Stable Diffusion or its kind: {LATENT}; give one that was trained on images",
    ),
    (
        (
            r"(^|\.)encoder\.(conv_in|down)",
            r"(^|\.)decoder\.",
        ),
        f"an autoencoder (VAE), which makes images of latents and takes no noise away; {LATENT}",
    ),
    (
        (
            r"(^|\.)init_conv\.weight$",
            r"(^|\.)downs\.\d+\.\d+\.",
        ),
        f"a network of lucidrains' denoising-diffusion-pytorch, another architecture; {FACTORY}",
    ),
    (
        (r"(^|\.)(conv_in|down_blocks\.\d+\.resnets\.\d+\.conv1)\.conv\.weight",),
        f"MONAI's DiffusionModelUNet, another architecture; {FACTORY}",
    ),
    (
        (r"(^|\.)all_modules\.\d+\.",),
        f"a score-SDE network (ncsnpp or ddpmpp), another architecture; {FACTORY}",
    ),
    (
        (r"(^|\.)(enc|dec)\.\d+x\d+_(conv|block|down|up|in)",),
        f"an EDM network, another architecture with noise levels of its own; {FACTORY}",
    ),
    (
        (r"(^|\.)x_embedder\.|(^|\.)blocks\.\d+\.(adaLN_modulation|attn\.qkv)",),
        f"a diffusion transformer (DiT), which works on latents as a rule; {FACTORY}",
    ),
    (
        (r"(^|\.)(text_model|visual|transformer\.resblocks|bert|vision_model)\.",),
        "a network for texts or for recognising images (CLIP, say), and no diffusion network",
    ),
    (
        (r"(^|\.)(synthesis|mapping|style_conv|discriminator|final_linear)\b",),
        "a GAN's network, and no diffusion network",
    ),
    (
        (r"(^|\.)(conv_first|RRDB_trunk|upconv1|m_head|m_tail|conv_last|body)\.",),
        "a network that restores images by itself (ESRGAN, SwinIR, DRUNet, ...), and no diffusion "
        "network",
    ),
    (
        (r"(^|\.)exp_avg(_sq)?$|(^|\.)momentum_buffer$",),
        "the state of an optimiser: give the file with the weights that was written beside it",
    ),
)
# First bytes of files that are no checkpoints.
HEADS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself (git lfs pull)"),
    (b"<!DOCTYPE", "a web page, saved in place of the file: download it anew"),
    (b"<html", "a web page, saved in place of the file: download it anew"),
    (b"<?xml", "a web server's message, saved in place of the file: download it anew"),
    (b"\x89HDF", "a file of Keras or HDF5, which is not read; convert its weights to .safetensors"),
    (b"GGUF", "a GGUF file of quantised weights, which is not read"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
# Modules that a pickle names -> what it seems to be.
MODULES: tuple[tuple[str, str], ...] = (
    (
        "torch_utils.persistence",
        "a pickle of EDM or StyleGAN, which runs its own code when it is read; such files are not "
        f"read; {FACTORY}",
    ),
    (
        "pytorch_lightning",
        "a Lightning checkpoint with objects beside its weights: save its state_dict alone",
    ),
    (
        "omegaconf",
        "a checkpoint with a configuration (omegaconf) beside its weights: save its state_dict "
        "alone",
    ),
    ("argparse", "a checkpoint with its options beside its weights: save its state_dict alone"),
)


def what_tensors_seem(keys: Iterable[str]) -> str | None:
    """What the names of a file's tensors look like; None for nothing known."""
    names = "\n".join(keys)

    def there(pattern: str) -> bool:
        return re.search(pattern, names, re.M) is not None

    if there(r"(^|\.)input_blocks\.") and not there(r"(^|\.)output_blocks\."):
        return "a classifier of guided-diffusion, which guides a diffusion network and is none"
    return next((what for patterns, what in KINDS if all(map(there, patterns))), None)


def what_file_seems(path: Path) -> str | None:
    """What a file that cannot be read as tensors looks like; None for nothing known."""
    size = path.stat().st_size
    if not size:
        return "an empty file: download or save it anew"
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:2] == b"PK":
        if not zipfile.is_zipfile(path):
            return (
                "a PyTorch file that is cut off: it has a beginning, but its list of contents, at "
                "the end, is missing; download it anew"
            )
        if path.suffix == ".safetensors":
            return "a PyTorch file under another name: call it .pt"
        head = _pickle_in(path)
    if path.suffix == ".safetensors" and head[8:9] == b"{":
        length = int.from_bytes(head[:8], "little")
        if length + 8 > size or _end_of_tensors(path, length) > size:
            return "a safetensors file that is cut off: download it anew"
    for start, what in HEADS:
        if head.lstrip()[: len(start)].lower() == start.lower():
            return what
    return next((what for module, what in MODULES if module.encode() in head), None)


def _end_of_tensors(path: Path, length: int) -> int:
    """Where the last tensor of a safetensors file should end, by its header."""
    with path.open("rb") as file:
        header = file.read(8 + min(length, 1 << 26))[8:]
    ends = re.findall(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]', header)
    return 8 + length + max(map(int, ends), default=0)


def _pickle_in(path: Path) -> bytes:
    """The beginning of what lists a PyTorch file's tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                return file.read(1 << 20)
    except (zipfile.BadZipFile, StopIteration, OSError, ValueError, NotImplementedError):
        return b""
