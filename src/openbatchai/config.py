"""One installation: its directories, its settings and every default."""

import fcntl
import ipaddress
import json
import math
import os
import re
import ssl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openbatchai.domain import quotas, storage_accounts
from openbatchai.engines.limits import Limits

DEFAULT_HOME = "~/.batchai"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_LOCATION = "eastus"
DEFAULT_ACCOUNT = "openbatchai"
DEFAULT_GROUP = "openbatchai"
# Four consecutive ports: ARM with AAD, proxy, Blob, Files. Nothing common listens there.
DEFAULT_PORT = 27180
DEFAULT_IDLE_TIMEOUT_S = 300.0
# What storage makes safe from a loss of power before it answers (docs/storage.md, "Durability").
FSYNC_POLICIES = ("always", "close", "never")
DEFAULT_FSYNC = "close"
# Nowhere; to public addresses; anywhere, this machine and its network included.
COPY_SOURCES = ("none", "public", "any")
# Each may have a file open besides its socket: 400 stay below the customary 1,024 descriptors.
DEFAULT_CONNECTIONS = 400
DEFAULT_STALLED_S = 60.0
DEFAULT_COPY_SOURCES = "public"

LISTENERS = ("arm", "proxy", "blob", "file")
_QUOTAS = (*quotas.NAMES, quotas.ACTIVE_JOBS, storage_accounts.USAGE)

_HOME_MODE = 0o710
_UNSAFE = re.compile(r"""[\s"'`$\\:;*?<>|&(){}\[\]!#~]""")


class HomeInUseError(Exception):
    """Another service runs on this home."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"a service already runs on this home, with pid {pid}")
        self.pid = pid


class HomeUnusableError(Exception):
    """The home cannot be created or written."""


@dataclass(frozen=True)
class Home:
    """Where everything of one installation is."""

    path: Path

    @classmethod
    def named(cls, path: str | None) -> "Home":
        """`--home`, else `BATCHAI_HOME`, else ~/.batchai."""
        chosen = path or os.environ.get("BATCHAI_HOME") or DEFAULT_HOME
        return cls(Path(chosen).expanduser().absolute())

    @property
    def database(self) -> Path:
        return self.path / "control.db"

    @property
    def secret_key(self) -> Path:
        return self.path / "keys" / "secrets.key"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def storage(self) -> Path:
        return self.path / "storage"

    @property
    def engine(self) -> Path:
        return self.path / "engine"

    @property
    def ca(self) -> Path:
        return self.path / "ca"

    @property
    def endpoint(self) -> Path:
        return self.path / "endpoint.json"

    @property
    def credentials(self) -> Path:
        return self.path / "credentials.json"

    @property
    def configuration(self) -> Path:
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        return self.path / "service.log"

    @property
    def access_log(self) -> Path:
        """One line for each request to storage."""
        return self.path / "access.log"

    @property
    def samples(self) -> Path:
        """What the proxy answers in place of the documents' sample files; see http/samples.py."""
        return self.path / "samples"

    @property
    def lock(self) -> Path:
        return self.path / "service.lock"

    def create(self) -> None:
        """Raises HomeUnusableError.

        What may hold output of jobs, or tell of them, is for the owner only, whatever the home's own mode.
        """
        if found := _UNSAFE.search(str(self.path)):
            raise HomeUnusableError(
                f"the home {self.path} cannot be used: command lines of jobs name paths below it without "
                f"quotes, which {found[0]!r} would break"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for directory in (self.storage, self.engine, self.keys):
                directory.mkdir(mode=0o700, exist_ok=True)
                # The group of the user whom tasks run as may pass through (engines/user.py).
                if directory.stat().st_mode & ~_HOME_MODE & 0o777:
                    directory.chmod(0o700)
            for file in (self.database, self.log):
                file.touch(mode=0o600)
                file.chmod(0o600)
        except OSError as error:
            raise HomeUnusableError(f"the home {self.path} cannot be written: {error.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for this process. Raises HomeInUseError naming the holder."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeInUseError(_pid_in(self.lock)) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The pid of the running service, or None."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(self.lock)
        finally:
            os.close(descriptor)
        return None


def _pid_in(lock: Path) -> int:
    text = lock.read_text()
    return int(text) if text.isdigit() else 0


@dataclass(frozen=True)
class Settings:
    """What `config.json` of the home may set. `ports` are chosen at the first start and kept.

    `images` maps patterns of container image names to Python interpreters of this machine.
    `idle_timeout_s`: how long an autoscale cluster keeps an idle node. `quotas`: limits by the names that
    the usages have, e.g. "Clusters". `fsync`: one of FSYNC_POLICIES. `copy_sources`: where the URL of a
    blob to copy may lead besides this service, one of COPY_SOURCES. `connections` at most are served by
    each port; one on which a client neither sends nor takes anything for `stalled_s` is cut.
    `recorded_creates`: answer creates of clusters and jobs with 202 and an operation, as the real service
    did. `names`: by which other machines know this one, besides its host name and addresses.
    `trusted_certificates`: a PEM file of authorities, besides the public ones, that may certify the hosts
    which the service asks in a client's place (an office's own, for instance). `job_user`: whom jobs run as
    when root starts the service; without it, the first of engines.user.USUAL that can.
    `preemptions_per_node_hour`: how often a low-priority node is taken away, at random. `retention`: how long
    what is over is kept, by the fields of services.context.Retention.
    `limits` of the engine: `diskReserveMiB`, `sampleSeconds`, `keepRunDays`, `keepRunsMiB`, `maxOutputMiB`.
    """

    ports: dict[str, int]
    images: dict[str, str]
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S
    quotas: dict[str, int] = field(default_factory=dict)
    fsync: str = DEFAULT_FSYNC
    copy_sources: str = DEFAULT_COPY_SOURCES
    connections: int = DEFAULT_CONNECTIONS
    stalled_s: float = DEFAULT_STALLED_S
    recorded_creates: bool = False
    names: tuple[str, ...] = ()
    trusted_certificates: str | None = None
    job_user: str = ""
    preemptions_per_node_hour: float = 0.0
    retention: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Raises HomeUnusableError when the file is damaged or has a setting that there is not, which would
        else be dropped when the file is next written; it is the user's to mend."""
        try:
            content: Any = json.loads(path.read_text()) if path.exists() else {}
            _check_names("setting", content, cls({}, {})._content())
            _check_names("port", content.get("ports", {}), LISTENERS)
            _check_names("quota", content.get("quotas", {}), _QUOTAS)
            fsync = content.get("fsync", DEFAULT_FSYNC)
            if fsync not in FSYNC_POLICIES:
                raise ValueError(f"fsync is one of {', '.join(FSYNC_POLICIES)}, not {fsync!r}")
            copy_sources = content.get("copySources", DEFAULT_COPY_SOURCES)
            if copy_sources not in COPY_SOURCES:
                raise ValueError(f"copySources is one of {', '.join(COPY_SOURCES)}, not {copy_sources!r}")
            return cls(
                ports={str(name): int(port) for name, port in content.get("ports", {}).items()},
                images={str(image): str(python) for image, python in content.get("images", {}).items()},
                idle_timeout_s=_number(content, "idleTimeoutSeconds", DEFAULT_IDLE_TIMEOUT_S),
                quotas={name: _whole(content["quotas"], name) for name in content.get("quotas", {})},
                fsync=fsync,
                copy_sources=copy_sources,
                connections=_whole(content, "connections", DEFAULT_CONNECTIONS, least=1),
                stalled_s=_number(content, "stalledSeconds", DEFAULT_STALLED_S, least=0.001),
                recorded_creates=_flag(content, "recordedCreates"),
                names=_host_names(content.get("names", [])),
                trusted_certificates=_readable(content.get("trustedCertificates")),
                job_user=str(content.get("jobUser", "")),
                preemptions_per_node_hour=_number(content, "preemptionsPerNodeHour", 0.0),
                retention=_retention(content.get("retention", {})),
                limits=_limits(content),
            )
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise HomeUnusableError(f"{path} cannot be read: {error}") from None

    def save(self, path: Path) -> None:
        write_private(path, self._content())

    def _content(self) -> dict[str, Any]:
        return {
            "ports": self.ports,
            "images": self.images,
            "idleTimeoutSeconds": self.idle_timeout_s,
            "quotas": self.quotas,
            "fsync": self.fsync,
            "copySources": self.copy_sources,
            "connections": self.connections,
            "stalledSeconds": self.stalled_s,
            "recordedCreates": self.recorded_creates,
            "names": list(self.names),
            "trustedCertificates": self.trusted_certificates,
            "jobUser": self.job_user,
            "preemptionsPerNodeHour": self.preemptions_per_node_hour,
            "retention": {_RETENTION[name]: value for name, value in self.retention.items()},
            **_content_of(self.limits),
        }


_MIB = 2**20
_DAY_S = 86400


def _content_of(limits: Limits) -> dict[str, Any]:
    return {
        "diskReserveMiB": limits.disk_reserve // _MIB,
        "sampleSeconds": limits.sample_s,
        "keepRunDays": limits.keep_s / _DAY_S,
        "keepRunsMiB": limits.keep_bytes // _MIB,
        "maxOutputMiB": limits.output_bytes // _MIB,
    }


def _limits(content: dict[str, Any]) -> Limits:
    """Raises ValueError for what is negative, or no pause."""
    found = {name: _number(content, name, usual) for name, usual in _content_of(Limits()).items()}
    if found["sampleSeconds"] == 0:
        raise ValueError("sampleSeconds cannot be 0")
    return Limits(
        disk_reserve=int(found["diskReserveMiB"] * _MIB),
        sample_s=found["sampleSeconds"],
        keep_s=found["keepRunDays"] * _DAY_S,
        keep_bytes=int(found["keepRunsMiB"] * _MIB),
        output_bytes=int(found["maxOutputMiB"] * _MIB),
    )


def _check_names(what: str, given: Collection[str], known: Collection[str]) -> None:
    """Raises ValueError with what is `given` and not `known`."""
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"unknown {what} {', '.join(map(repr, unknown))}; known are {', '.join(known)}")


def _number(content: dict[str, Any], name: str, usual: float, least: float = 0.0) -> float:
    """Raises ValueError for what is less, or no number."""
    value = float(content.get(name, usual))
    if not least <= value < math.inf:
        raise ValueError(f"{name} cannot be {value:g}")
    return value


def _whole(content: dict[str, Any], name: str, usual: int = 0, least: int = 0) -> int:
    value = _number(content, name, usual, least)
    if not value.is_integer():
        raise ValueError(f"{name} cannot be {value:g}")
    return int(value)


def _flag(content: dict[str, Any], name: str) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false, not {value!r}")
    return value


# The fields of services.context.Retention, as the file names them.
_RETENTION = {
    "event_days": "eventDays",
    "events": "events",
    "run_days": "runDays",
    "operation_hours": "operationHours",
}


def _retention(given: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError for what is no limit, or would hide operations from those who poll them."""
    _check_names("retention knows no", given, list(_RETENTION.values()))
    found = {field: float(given[name]) for field, name in _RETENTION.items() if name in given}
    if any(not value > 0 for value in found.values()) or found.get("operation_hours", 1) < 1:
        raise ValueError("retention: each limit is above 0, operationHours at least 1")
    return found | ({"events": int(found["events"])} if "events" in found else {})


def _readable(path: str | None) -> str | None:
    """Raises ValueError for what is no file, or holds no certificates."""
    if path is None:
        return None
    if not Path(path).is_file():
        raise ValueError(f"trustedCertificates: {path!r} is no file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise ValueError(f"trustedCertificates: {path!r} has no certificates in PEM: {error}") from None
    return path


def _host_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise ValueError(f"names is a list, not {names!r}")
    return tuple(map(_host_name, names))


def _host_name(text: str) -> str:
    """Raises ValueError for what no certificate can name."""
    if not text or not text.isascii() or (re.search(r"[\s/:]", text) and not _is_address(text)):
        raise ValueError(f"{text!r} is neither a host name nor an address")
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, readable by its owner only: a temporary file, then its rename.

    Whoever writes holds the home, so one temporary name is enough; what a kill leaves is used again.
    """
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def read_endpoint(home: Home) -> dict[str, Any] | None:
    """The endpoint file of the running service; None when none runs or it is not ready yet."""
    if home.holder() is None:
        return None
    try:
        content: dict[str, Any] = json.loads(home.endpoint.read_text())
    except (OSError, ValueError):
        return None
    return content if content.get("pid") == home.holder() else None
