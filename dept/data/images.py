"""Images of rows: locate, read, decode and fingerprint them.

An image is a file named by a path, a file's content, or {"bytes": ..., "path": ...} as the hub's data sets have it.
Rows keep the last form, so that rows of every source look alike.
"""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from dept.tasks.task import ImageValue

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# The exceptions of PIL's reader of damaged EXIF blocks.
_BROKEN_EXIF = (
    struct.error,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    SyntaxError,
)
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000  # a larger image counts as a decompression bomb
_ORIENTATION = 0x0112  # EXIF's tag


def as_stored(value: ImageValue) -> dict[str, Any]:
    """An image in the form in which rows keep it."""
    if isinstance(value, str):
        return {"bytes": None, "path": value}
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    return {"bytes": value.get("bytes"), "path": value.get("path")}


def found_in(value: ImageValue, folder: Path, where: str) -> dict[str, Any]:
    """The image of a data folder's row, its path made absolute; in the row it is relative to the folder.

    Raises:
        DataError: there is no such file, or it lies outside the folder; the message begins with `where`.
    """
    stored = as_stored(value)
    if stored["bytes"]:
        return stored
    path = Path(stored["path"])
    try:
        resolved = (folder / path).resolve()
        if path.is_absolute() or not resolved.is_relative_to(folder.resolve()):
            raise DataError(f"{where}: image {str(path)[:80]!r} lies outside {folder}; name it by a path inside")
        if not resolved.is_file():
            raise DataError(f"{where}: there is no image {str(path)[:80]!r} in {folder}")
    except (OSError, ValueError) as fault:  # a null byte, a name that is too long
        if isinstance(fault, DataError):
            raise
        raise DataError(f"{where}: image {str(path)[:80]!r} cannot be used as a path ({fault})") from fault
    return {"bytes": None, "path": str(resolved)}


def content(value: ImageValue) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: the file cannot be read, or is larger than 64 MiB.
    """
    stored = as_stored(value)
    data: bytes | None = stored["bytes"]
    if not data:
        path = Path(str(stored["path"])).expanduser()
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DataError(f"{path}: larger than {MAX_BYTES // 2**20} MiB; is this an image?")
            data = path.read_bytes()
        except (OSError, ValueError) as fault:
            if isinstance(fault, DataError):
                raise
            raise DataError(f"the image {path} cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    if len(data) > MAX_BYTES:
        raise DataError(f"an image of {len(data):,} bytes; at most {MAX_BYTES // 2**20} MiB")
    return data


def digest(value: ImageValue) -> str:
    """sha256 hex of an image file's content; a file is read again only if it has changed."""
    stored = as_stored(value)
    if stored["bytes"]:
        return hashlib.sha256(stored["bytes"]).hexdigest()
    path = Path(str(stored["path"])).expanduser()
    try:
        status = path.stat()
    except (OSError, ValueError):
        return hashlib.sha256(content(value)).hexdigest()  # `content` raises the error that says what is wrong
    return _digest_of_file(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=200_000)
def _digest_of_file(path: str, modified_ns: int, size: int) -> str:
    return hashlib.sha256(content(path)).hexdigest()


def decode(data: bytes, name: str = "the image", most_pixels: int = MAX_PIXELS) -> Image:
    """An image file's pixels as RGB, turned as its EXIF block says, transparent parts on white.

    Args:
        most_pixels: width times height; a larger one is refused before its pixels are read.

    Raises:
        DataError: the file is no image of a known format, is damaged, or is too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PIL warns of damaged details that the pixels do not need
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.width * opened.height > most_pixels:
                    raise DataError(f"{name} has {opened.width} x {opened.height} pixels; make it smaller")
                turned = _upright(opened)
                if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                    with_alpha = turned.convert("RGBA")
                    turned = Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha)
                return turned.convert("RGB")
    except UnidentifiedImageError as fault:
        raise DataError(f"{name} is no image of a known format ({', '.join(FORMATS)})") from fault
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise DataError(f"{name} has too many pixels; make it smaller") from fault
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as fault:
        if isinstance(fault, DataError):
            raise
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise DataError(f"{name} is damaged ({reason})") from fault


def _upright(opened: Image) -> Image:
    """The image turned as its EXIF block says; if the block cannot be read, the image as it is."""
    from PIL.Image import Transpose

    opened.load()  # before the EXIF block is read: damaged pixels are an error, a damaged block is none
    try:
        orientation = opened.getexif().get(_ORIENTATION)
    except _BROKEN_EXIF:
        return opened
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return opened.transpose(turns[orientation]) if orientation in turns else opened


def thumbnail(value: ImageValue, side: int) -> bytes:
    """A small JPEG of an image, at most `side` pixels high and wide.

    Raises:
        DataError: as `content` and `decode`.
    """
    return small_jpeg(decode(content(value), named(value)), side)


def small_jpeg(image: Image, side: int) -> bytes:
    """A decoded RGB image as a JPEG of at most `side` pixels high and wide."""
    small = image.copy()
    small.thumbnail((side, side))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=90)
    return target.getvalue()


def named(value: ImageValue) -> str:
    """An image's name for messages."""
    path = as_stored(value)["path"]
    return str(path) if path else "the image"


def without_content(row: Mapping[str, Any], column: str | None) -> dict[str, Any]:
    """A row with its image replaced by the image's digest, for fingerprints and printing."""
    if column is None or row.get(column) is None:
        return dict(row)
    return {**row, column: digest(row[column])}
