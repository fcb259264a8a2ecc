"""A picture's file, opened by Pillow: compared with what is allowed, and its faults in words."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

from PIL import Image, ImageFile, UnidentifiedImageError

from manifests.formats import decodable_formats
from pipeline.errors import RowError
from pipeline.pictures.words import shown

FIRST_IS_WHOLE = ("MPO", "PSD")  # formats whose further frames are previews or layers
COUNTED_BYTES = 2**17  # of a file that is walked through to count its frames
CODEC_MEMORY = "decoder error -9"  # what Pillow says when its C code gets no memory
SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"(II|MM)(\\*\0|\0\\*|\\+\0|\0\\+)": "TIFF",
    b"\xff\x4f\xff\x51|\0\0\0\x0cjP  ": "JPEG 2000",
    b"BM": "BMP",
    b"8BPS": "PSD",
    b"RIFF....WEBP": "WebP",
    b"....ftypavi[fs]": "AVIF",
}


@contextlib.contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The picture of a file, whose pixels are read within the block.

    Pillow's limit for the process is set, which holds for images within files (icons).

    Raises:
        RowError: what is wrong with the file; within the block too, whatever Pillow raises there.
    """
    if not data:
        raise RowError("the image file is empty (0 bytes)", "empty_file")
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        picture = Image.open(io.BytesIO(data), formats=decodable_formats())
        check_size(picture, max_pixels)
        _check_single(picture, data)
        if picture.format == "PNG" and picture.mode == "P" and picture.palette is None:
            raise RowError("the image is an indexed PNG without a palette", "damaged")
        yield picture
    except RowError:
        raise
    except UnidentifiedImageError:
        for start, name in SIGNATURES.items():
            if re.match(start, data, re.DOTALL):
                text = f"begins like a {name} file, but is broken or of a kind that is not read"
                raise RowError(f"the file {text}", "damaged") from None
        raise RowError("the file is not an image of a known format", "not_an_image") from None
    except Image.DecompressionBombError as e:
        size = re.search(r"\d+ pixels", str(e))
        text = f"the image is too large: {size[0] if size else '?'}, {max_pixels} are allowed"
        raise RowError(text, "too_large") from None
    except Exception as e:  # decoders raise OSError, ValueError, SyntaxError, struct.error, ...
        if isinstance(e, MemoryError) or str(e) == CODEC_MEMORY:
            text = "there is not the memory to decode the image"
            raise RowError(text, "out_of_memory") from None
        raise RowError(f"the image cannot be decoded ({shown(e)})", "damaged") from None


def check_size(picture: Image.Image, max_pixels: int) -> None:
    """Raise RowError ``too_large`` for a picture of more pixels."""
    width, height = picture.size
    if width * height > max_pixels:
        raise RowError(
            f"the image is too large: {width} x {height} pixels, {max_pixels} are allowed",
            "too_large",
        )


def _check_single(picture: Image.Image, data: bytes) -> None:
    if picture.format not in FIRST_IS_WHOLE and getattr(picture, "is_animated", False):
        few = picture.format != "TIFF" and len(data) <= COUNTED_BYTES
        count = getattr(picture, "n_frames", "several") if few else "several"
        text = f"the file holds {count} frames or pages"
        raise RowError(f"{text}, not one image", "several_frames")
