"""What the local engine takes of the disk at most, and how often it looks."""

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """`disk_reserve`: with fewer bytes free on the disk of the home (2 % of a small one) no run starts.
    `sample_s`: pause between two looks at what running tasks use. `keep_s` and `keep_bytes`: how long, and
    how much, the files of ended runs outside their mounts are kept. `output_bytes`: the longest that one of a
    job's stdout and stderr files may get before the job is ended; 0 for no limit."""

    disk_reserve: int = 512 * _MIB
    sample_s: float = 10.0
    keep_s: float = 7 * 24 * 3600.0
    keep_bytes: int = 20 * 1024 * _MIB
    output_bytes: int = 0
