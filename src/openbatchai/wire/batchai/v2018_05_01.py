"""2018-05-01: the canonical model itself."""

from .version import CANONICAL, Version

VERSION = Version(CANONICAL)
