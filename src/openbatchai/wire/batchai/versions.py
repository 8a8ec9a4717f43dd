"""The published api-versions of Microsoft.BatchAI, newest first."""

from . import v2017_09_01_preview, v2018_03_01, v2018_05_01
from .version import Version

VERSIONS: dict[str, Version] = {
    version.name: version
    for version in (v2018_05_01.VERSION, v2018_03_01.VERSION, v2017_09_01_preview.VERSION)
}
LATEST = v2018_05_01.VERSION
