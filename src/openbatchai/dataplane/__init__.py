"""Content of blobs and files on disk, signatures and SAS, and its own side store."""

from openbatchai.dataplane.places import FsyncPolicy
from openbatchai.dataplane.storage import Storage

__all__ = ["FsyncPolicy", "Storage"]
