"""Content of blobs and files on disk, signatures and SAS, and its own side store."""
