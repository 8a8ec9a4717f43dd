"""2018-05-01: the canonical model itself."""

from .version import Version

VERSION = Version("2018-05-01")
