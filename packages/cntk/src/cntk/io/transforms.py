"""Transformations of images while they are read: crop, scale, subtract a mean, jitter colours.

An image is an array [height, width, channels], blue first as OpenCV has them, in bytes until a transformation
needs real numbers.  Random choices come from the generator that the reader gives: one per image and sweep.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from ..internal.missing import module_getattr, unavailable
from ..internal.native import write_stderr

Range = tuple[float, float]


def _range(value: Any, what: str) -> Range:
    low, high = value if isinstance(value, (tuple, list)) else (value, value)
    if not 0.0 <= float(low) <= float(high):
        raise ValueError(f"{what} must be a number or a pair (lowest, highest), not {value!r}")
    return float(low), float(high)


@dataclass(frozen=True)
class Crop:
    """See `crop`."""

    kind: str
    size: tuple[int, int]  # width, height; 0 when ratios decide
    side: Range
    area: Range
    aspect: Range
    jitter: bool

    def _draw(self, limits: Range, generator: np.random.Generator) -> float:
        return float(generator.uniform(*limits)) if self.jitter and limits[0] < limits[1] else limits[0]

    def _window(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int]:
        """(width, height) of what is cut out; the whole image when ten draws do not fit."""
        if self.size[0] and self.size[1]:
            if self.size[0] > width or self.size[1] > height:
                raise RuntimeError(
                    f"Crop size {self.size[0]}x{self.size[1]} is larger than the image ({width}x{height})."
                )
            return self.size
        for _ in range(10):
            if self.side[1] > 0.0:
                edge = math.floor(min(height, width) * self._draw(self.side, generator) + 0.5)
            else:
                edge = math.floor(math.sqrt(height * width * self._draw(self.area, generator)) + 0.5)
            across = down = max(edge, 1)
            aspect = self._draw(self.aspect, generator)
            if aspect != 1.0:
                longer, shorter = int(math.sqrt(edge * edge * aspect)), int(math.sqrt(edge * edge / aspect))
                wide = generator.random() < 0.5
                across, down = (longer, shorter) if wide else (shorter, longer)
            if across <= width and down <= height:
                return across, down
        return width, height

    def apply(self, image: np.ndarray, generator: np.random.Generator, view: int = 0) -> np.ndarray:
        height, width = image.shape[:2]
        across, down = self._window(height, width, generator)
        left, top = (width - across) // 2, (height - down) // 2
        mirrored = False
        if self.kind in ("randomside", "randomarea"):
            left = int(generator.integers(0, width - across + 1))
            top = int(generator.integers(0, height - down + 1))
            mirrored = bool(generator.random() < 0.5)
        elif self.kind == "multiview10":
            corner, mirrored = view % 5, view % 10 >= 5
            if corner < 4:
                left, top = (corner % 2) * (width - across), (corner // 2) * (height - down)
        cut = image[top : top + down, left : left + across]
        return cut[:, ::-1] if mirrored else cut


@dataclass(frozen=True)
class Scale:
    """See `scale`."""

    width: int
    height: int
    channels: int
    interpolation: str
    mode: str
    pad: int

    def apply(self, image: np.ndarray, generator: np.random.Generator, view: int = 0) -> np.ndarray:
        height, width = image.shape[:2]
        if self.mode == "fill":
            return self._resize(image, self.width, self.height)
        by_width = width < height if self.mode == "crop" else width > height
        if by_width:
            across, down = self.width, max(math.floor(height * self.width / width + 0.5), 1)
        else:
            across, down = max(math.floor(width * self.height / height + 0.5), 1), self.height
        image = self._resize(image, across, down)
        if self.mode == "crop":
            left, top = max(across - self.width, 0) // 2, max(down - self.height, 0) // 2
            return image[top : top + self.height, left : left + self.width]
        top, left = max(self.height - down, 0) // 2, max(self.width - across, 0) // 2
        borders = ((top, self.height - down - top), (left, self.width - across - left), (0, 0))
        if self.pad == -1:
            return np.pad(image, borders, mode="edge")
        return np.pad(image, borders, constant_values=self.pad)

    def _resize(self, image: np.ndarray, width: int, height: int) -> np.ndarray:
        if image.shape[:2] == (height, width):
            return image
        planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        mode = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}[self.interpolation]
        # Pixel centres as OpenCV has them, and no smoothing before making an image smaller.
        options: dict[str, Any] = {} if mode == "nearest" else {"align_corners": False}
        resized = torch.nn.functional.interpolate(planes, size=(height, width), mode=mode, **options)
        result: np.ndarray = resized[0].permute(1, 2, 0).numpy()
        if image.dtype == np.uint8:
            result = np.clip(np.rint(result), 0, 255).astype(np.uint8)
        return result


@dataclass(frozen=True)
class Mean:
    """See `mean`."""

    image: np.ndarray  # [height, width, channels]
    warned: list[bool] = field(default_factory=list)

    def apply(self, image: np.ndarray, generator: np.random.Generator, view: int = 0) -> np.ndarray:
        if image.shape == self.image.shape:
            difference: np.ndarray = image.astype(np.float32) - self.image
            return difference
        if not self.warned:
            self.warned.append(True)
            write_stderr(
                "WARNING: Mean file does not match the size of the input image, will be ignored.\n"
                "Please remove mean transformation from the config.\n"
            )
        return image


@dataclass(frozen=True)
class Color:
    """See `color`."""

    brightness: float
    contrast: float
    saturation: float

    def apply(self, image: np.ndarray, generator: np.random.Generator, view: int = 0) -> np.ndarray:
        result = image.astype(np.float32)
        if self.brightness > 0.0 or self.contrast > 0.0:
            # y = contrast x + brightness, the latter as a share of the image's mean.
            beta = generator.uniform(-self.brightness, self.brightness) if self.brightness > 0.0 else 0.0
            alpha = 1.0 + (generator.uniform(-self.contrast, self.contrast) if self.contrast > 0.0 else 0.0)
            result = np.clip(alpha * result + beta * float(result.mean()), 0.0, 255.0)
        if self.saturation > 0.0 and image.shape[2] == 3:
            ratio = 1.0 + float(generator.uniform(-self.saturation, self.saturation))
            # Saturation of hue, saturation and lightness: every pixel moves from or towards its own grey.
            grey = (result.max(axis=2, keepdims=True) + result.min(axis=2, keepdims=True)) / 2
            result = np.clip(grey + (result - grey) * ratio, 0.0, 255.0)
        return result.astype(np.float32)


def crop(
    crop_type: str = "center",
    crop_size: Any = 0,
    side_ratio: Any = 0.0,
    area_ratio: Any = 0.0,
    aspect_ratio: Any = 1.0,
    jitter_type: str = "none",
) -> Crop:
    """Cut out a part: in the middle ("center"), at a random place and mirrored every second time
    ("randomside", "randomarea"), or the corners and the middle, plain and mirrored ("multiview10").

    The part is `crop_size` (a number or (width, height), pixels), or a square of `side_ratio` times the
    shorter side, or of `area_ratio` of the area.  Ratios may be pairs, between which jitter_type "uniratio"
    draws.
    Raises ValueError for sizes that contradict each other.
    """
    kind = crop_type.lower()
    if kind not in ("center", "randomside", "randomarea", "multiview10"):
        raise ValueError(f"Invalid crop type: {crop_type}.")
    if jitter_type.lower() not in ("none", "uniratio"):
        raise ValueError(f"Invalid jitter type: {jitter_type}.")
    size = crop_size if isinstance(crop_size, (tuple, list)) else (crop_size, crop_size)
    side, area = _range(side_ratio, "side_ratio"), _range(area_ratio, "area_ratio")
    if side[1] > 1.0 or area[1] > 1.0:
        raise ValueError("side_ratio and area_ratio must not be larger than 1")
    if kind == "randomside" and side[1] == 0.0:
        raise ValueError("randomside needs side_ratio")
    if kind == "randomarea" and area[1] == 0.0:
        raise ValueError("randomarea needs area_ratio")
    if not any((all(size), side[1] > 0.0, area[1] > 0.0)):
        side = (1.0, 1.0)
    aspect = _range(aspect_ratio, "aspect_ratio")
    if aspect[0] <= 0.0:
        raise ValueError("aspect_ratio must be positive")
    sizes = (int(size[0]), int(size[1]))
    return Crop(kind, sizes, side, area, aspect, jitter_type.lower() == "uniratio")


def scale(
    width: int,
    height: int,
    channels: int,
    interpolations: str = "linear",
    scale_mode: str = "fill",
    pad_value: int = -1,
) -> Scale:
    """Bring every image to one size: "fill" stretches, "crop" covers it and cuts what sticks out, "pad" fits
    inside and fills the rest with `pad_value` (-1: with the pixels at the border).

    Raises ValueError for a size, interpolation or mode that does not exist.
    """
    if width < 1 or height < 1 or channels not in (1, 3):
        raise ValueError("Invalid image dimensions.")
    interpolation = interpolations.lower()
    if interpolation == "lanczos":
        raise unavailable("scale(interpolations='lanczos')")
    if interpolation not in ("nearest", "cubic", "linear"):
        raise ValueError("Invalid interpolations value, must be nearest, cubic, lanczos or linear")
    if scale_mode not in ("fill", "crop", "pad"):
        raise ValueError("Invalid scaleMode value, must be fill, crop or pad (all lower case)")
    if pad_value < -1:
        raise ValueError("Invalid padValue value, must be -1 (replicates border) or >= 0 (constant)")
    return Scale(int(width), int(height), int(channels), interpolation, scale_mode, int(pad_value))


def mean(filename: str) -> Mean:
    """Subtract a mean image: an XML file as OpenCV writes it, with Channel, Row, Col and MeanImg.

    Images of another size are left as they are, with a warning.  Raises RuntimeError for a file that is
    missing or something else.
    """
    path = Path(filename)
    if not path.is_file():
        raise RuntimeError(f"Could not open file: {filename}")
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise RuntimeError(f"Invalid data in file: {filename}")
    try:
        root = ElementTree.fromstring(text)
        channels, rows, columns = (int(root.findtext(name, "")) for name in ("Channel", "Row", "Col"))
        data = root.findtext("MeanImg/data", "")
        values = np.array([float(token) for token in re.split(r"\s+", data.strip())], np.float32)
        # The matrix holds the pixels row by row, the channels of each together.
        return Mean(values.reshape(rows, columns, channels))
    except (ElementTree.ParseError, ValueError) as error:
        raise RuntimeError(f"Invalid data in file: {filename}") from error


def color(
    brightness_radius: float = 0.0, contrast_radius: float = 0.0, saturation_radius: float = 0.0
) -> Color:
    """Change brightness, contrast and saturation by random factors within these radii (0 to 1).

    Raises ValueError for a radius outside.
    """
    radii = (brightness_radius, contrast_radius, saturation_radius)
    for name, radius in zip(("brightness", "contrast", "saturation"), radii, strict=True):
        if not 0.0 <= radius <= 1.0:
            raise ValueError(f"{name}_radius must be between 0 and 1, not {radius}")
    return Color(*map(float, radii))


__all__ = ["color", "crop", "mean", "scale"]

__getattr__ = module_getattr("cntk.io.transforms")
