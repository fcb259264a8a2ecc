"""Priors that are known by a name: where they are published, and what they are."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from manifests import storage
from manifests.errors import StorageError

OnBytes = Callable[[int, int | None], None]  # how many arrived, of how many (None: not told)


@dataclass(frozen=True)
class KnownPrior:
    """A published checkpoint.

    Attributes:
        url: of the file.
        about: what it was trained on, and by whom.
        licence: as far as its authors state one.
        bytes: of the file; None where nobody here has seen it.
        sha256: of the file; None likewise: then that of the first download is kept, and later
            ones must have it.
    """

    url: str
    about: str
    licence: str
    bytes: int | None = None
    sha256: str | None = None


_OPENAI = "https://openaipublic.blob.core.windows.net/diffusion"
_HUB = "https://huggingface.co"
KNOWN: dict[str, KnownPrior] = {
    "ffhq": KnownPrior(
        url=f"{_HUB}/deepinv/diffunet/resolve/main/diffusion_ffhq_10m.pt",
        about="faces, 256 x 256 (FFHQ; the DiffPIR paper's)",
        licence="none stated; the pictures are CC BY-NC-SA 4.0",
    ),
    "imagenet": KnownPrior(
        url=f"{_OPENAI}/jul-2021/256x256_diffusion_uncond.pt",
        about="ImageNet, 256 x 256, unconditional (OpenAI; the DiffPIR paper's)",
        licence="MIT",
        bytes=2_211_383_297,
        sha256="a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
    ),
    "imagenet-512": KnownPrior(
        url=f"{_HUB}/lowlevelware/512x512_diffusion_unconditional_ImageNet/resolve/main/"
        "512x512_diffusion_uncond_finetune_008100.pt",
        about="ImageNet, 512 x 512, OpenAI's model made unconditional by fine-tuning",
        licence="none stated; OpenAI's is MIT",
        sha256="9c111ab89e214862b76e1fa6a1b3f1d329b1a88281885943d2cdbe357ad57648",
    ),
    "lsun-bedroom": KnownPrior(
        url=f"{_OPENAI}/jul-2021/lsun_bedroom.pt",
        about="bedrooms, 256 x 256 (LSUN; OpenAI)",
        licence="MIT",
    ),
    "lsun-cat": KnownPrior(
        url=f"{_OPENAI}/jul-2021/lsun_cat.pt",
        about="cats, 256 x 256 (LSUN; OpenAI)",
        licence="MIT",
    ),
    "lsun-horse": KnownPrior(
        url=f"{_OPENAI}/jul-2021/lsun_horse.pt",
        about="horses, 256 x 256 (LSUN; OpenAI)",
        licence="MIT",
    ),
}


def place_of(name: str) -> Path:
    """Where a known prior's file is kept."""
    return Path(storage.cache_folder()) / "models" / f"{name}{Path(KNOWN[name].url).suffix}"


def fetch(name: str, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """The file of a known prior; fetched and verified where it is not here yet.

    Raises:
        StorageError: it cannot be had, or is another file than it was.
    """
    known, place = KNOWN[name], place_of(name)
    if place.exists():
        return place
    record = place.with_suffix(".json")
    partial = place.with_name(f".{uuid.uuid4().hex}{place.suffix}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        storage.download(known.url, partial, on_bytes)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        expected = known.sha256 or _recorded(record)
        if expected and digest != expected:
            raise StorageError(
                f"{name}: {known.url} is not the file that it was: its SHA-256 is {digest}, "
                f"expected {expected}",
                "changed",
            )
        record.write_text(json.dumps({"url": known.url, "sha256": digest}))
        os.replace(partial, place)
    except OSError as e:
        raise StorageError(f"{place.parent}: cannot be written ({e})") from None
    finally:
        partial.unlink(missing_ok=True)
    return place


def _recorded(record: Path) -> str | None:
    """The digest of an earlier download, whose file may be gone."""
    try:
        return str(json.loads(record.read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
