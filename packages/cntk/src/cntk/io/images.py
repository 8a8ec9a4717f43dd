"""ImageDeserializer: a list of image files and their classes; Base64ImageDeserializer: images inside a text
file.  Decoding needs Pillow (`pip install openbatchai-cntk[images]`)."""

from __future__ import annotations

import base64
import binascii
import io
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core import Value
from ..internal.missing import NotAvailableError
from ..variables import Record
from .datasets import Dataset, stream_layout
from .streams import MinibatchData, StreamInformation
from .transforms import Crop, Scale

_VIEWS = 10  # of multiview10
_LARGEST = 256 << 20  # bytes of one image file in an archive; more is no image but a trap


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise NotAvailableError("reading images needs Pillow: pip install openbatchai-cntk[images]") from None
    return Image


def decode(data: bytes, grey: bool, what: str) -> np.ndarray:
    """An image file's pixels [height, width, channels] in bytes, blue first.

    Raises RuntimeError when it is no image.
    """
    images = _pillow()
    try:
        with images.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
        raise RuntimeError(f"Cannot decode image {what}") from error
    return pixels[:, :, None] if grey else pixels[:, :, ::-1]


class _Archives:
    """Open zip files by path."""

    def __init__(self) -> None:
        self._open: dict[Path, zipfile.ZipFile] = {}

    def read(self, path: Path, member: str) -> bytes:
        if path not in self._open:
            self._open[path] = zipfile.ZipFile(path)
        entry = self._open[path].getinfo(member.lstrip("/\\").replace("\\", "/"))
        if entry.file_size > _LARGEST:
            raise OSError(f"{member} is larger than {_LARGEST} bytes")
        return self._open[path].read(entry)


class ImageDataset:
    """Images (each a chunk and a sequence of its own) with a class each."""

    def __init__(self, filename: str, streams: dict[str, Record], first_id: int, embedded: bool):
        self.filename = filename
        self._embedded = embedded
        self._transforms: list[Any] = []
        self._grey = False
        self.infos: list[StreamInformation] = []
        self._kind: dict[StreamInformation, str] = {}
        self._classes = 0
        self._rows: list[tuple[str, int, int]] | None = None  # path or data, class, line
        self._archives = _Archives()
        self._pool: ThreadPoolExecutor | None = None
        if not Path(filename).is_file():
            raise RuntimeError(f"Failed to open input file: {filename}")
        _pillow()
        for i, (name, definition) in enumerate(streams.items()):
            field = definition["stream_alias"] or name
            if field not in ("image", "label"):
                raise ValueError(f"stream '{name}': the field must be image or label, not '{field}'")
            if field == "label":
                layout = stream_layout(name, definition)
                self._classes = int(np.prod(layout))
                info = StreamInformation(name, first_id + i, "sparse", np.float32, layout)
            else:
                self._transforms = list(definition.get("transforms") or [])
                scales = [t for t in self._transforms if isinstance(t, Scale)]
                self._grey = bool(scales) and scales[-1].channels == 1
                info = StreamInformation(name, first_id + i, "dense", np.float32, self._layout(scales))
            self.infos.append(info)
            self._kind[info] = field
        views = any(isinstance(t, Crop) and t.kind == "multiview10" for t in self._transforms)
        self._views = _VIEWS if views else 1

    def _layout(self, scales: Sequence[Scale]) -> tuple[int, ...]:
        """Channels, height, width: of the last scaling, or else of the first image as it is."""
        if scales:
            return (scales[-1].channels, scales[-1].height, scales[-1].width)
        image = self._image(0, 0, np.random.default_rng(0))
        return (image.shape[2], *image.shape[:2])

    def _lines(self) -> list[tuple[str, int, int]]:
        if self._rows is not None:
            return self._rows
        rows = []
        with Path(self.filename).open(encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                columns = line.rstrip("\r\n").split("\t")
                if columns == [""]:
                    continue
                if self._embedded:
                    # key, class, image
                    columns = columns[-2:][::-1] if len(columns) in (2, 3) else []
                if len(columns) not in (2, 3):
                    raise RuntimeError(
                        "Invalid map file format, must contain 2 or 3 tab-delimited columns, line "
                        f"{number} in file {self.filename}."
                    )
                path, label = columns[-2], columns[-1].strip()
                if not label.isdigit():
                    raise RuntimeError(
                        f"Cannot parse label value on line {number}, second column, in file {self.filename}."
                    )
                rows.append((path, int(label), number))
        if not rows:
            raise RuntimeError(f"The map file {self.filename} has no images.")
        self._rows = rows
        return rows

    @property
    def chunks(self) -> int:
        return len(self._lines()) * self._views

    def load(self, frames: bool) -> np.ndarray:
        for path, label, number in self._lines():
            if self._classes and label >= self._classes:
                what = "" if self._embedded else f"'{path}' "
                raise RuntimeError(
                    f"Image {what}has invalid class id '{label}'. Expected label dimension is "
                    f"'{self._classes}'. Line {number} in file {self.filename}."
                )
        return np.ones(self.chunks, np.int64)

    def _bytes(self, row: tuple[str, int, int]) -> bytes:
        text, _, number = row
        if self._embedded:
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise RuntimeError(f"Cannot decode image at line {number} in file {self.filename}") from error
        archive, found, member = text.partition("@")
        here = Path(self.filename).parent
        try:
            if found and archive.lower().endswith(".zip"):
                path = Path(archive)
                return self._archives.read(path if path.exists() else here / path, member)
            path = Path(text.replace("...", str(here), 1) if text.startswith("...") else text)
            return (path if path.exists() else here / path).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise RuntimeError(f"Cannot open file '{text}'") from error

    def _image(self, index: int, view: int, generator: np.random.Generator) -> np.ndarray:
        row = self._lines()[index]
        what = f"at line {row[2]} in file {self.filename}" if self._embedded else f"'{row[0]}'"
        image = decode(self._bytes(row), self._grey, what)
        for transform in self._transforms:
            image = transform.apply(image, generator, view)
        return image

    def part(
        self, info: StreamInformation, sequences: np.ndarray, seed: tuple[int, int], end_of_sweep: bool
    ) -> MinibatchData:
        count = len(sequences)
        result = np.zeros((count, 1, *info.m_sample_layout), np.float32)
        if self._kind[info] == "label":
            rows = self._lines()
            flat = result.reshape(count, -1)
            for i, sequence in enumerate(sequences):
                flat[i, rows[int(sequence) // self._views][1]] = 1.0
            value = Value(torch.from_numpy(result), None, True)
            return MinibatchData(value, count, count, end_of_sweep)

        def one(i: int) -> None:
            index, view = divmod(int(sequences[i]), self._views)
            image = self._image(index, view, np.random.default_rng([*seed, int(sequences[i])]))
            if (image.shape[2], *image.shape[:2]) != info.m_sample_layout:
                raise RuntimeError(
                    f"Image '{self._lines()[index][0]}' has the size {image.shape[1]}x{image.shape[0]} after "
                    "its transformations; add a scale transformation to bring all images to one size."
                )
            result[i, 0] = image.transpose(2, 0, 1)

        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "cntk-images")
        list(self._pool.map(one, range(count)))
        return MinibatchData(Value(torch.from_numpy(result), None, False), count, count, end_of_sweep)


class _Deserializer:
    """Images and their classes."""

    def __init__(self, filename: str, streams: Record, embedded: bool):
        self.filename = str(filename)
        self.streams = dict(streams)
        self._embedded = embedded

    def open(self, first_id: int) -> Dataset:
        return ImageDataset(self.filename, self.streams, first_id, self._embedded)


def ImageDeserializer(filename: str, streams: Record) -> Any:
    """Images listed in a map file: `path<TAB>class` or `key<TAB>path<TAB>class` in each line.

    Paths are relative to the working directory or to the map file's; `archive.zip@/name` is a file in a zip
    archive.  Fields: `image` (pixels 0..255, blue first, [channels, height, width] after the
    transformations of its StreamDef) and `label` (one-hot, sparse).
    """
    return _Deserializer(filename, streams, embedded=False)


def Base64ImageDeserializer(filename: str, streams: Record) -> Any:
    """Images in a text file: `class<TAB>image` or `key<TAB>class<TAB>image` in each line, the image
    file's bytes in base64.  Fields as those of ImageDeserializer."""
    return _Deserializer(filename, streams, embedded=True)
