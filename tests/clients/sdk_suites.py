"""Runs the test suites that come inside the SDKs' source distributions, against a service of ours.

    cd tests; python -m clients.sdk_suites blob|share|adlfs [-k WORDS] [--only FILE ...] [--jsonl REPORT]

The distribution is fetched from the package index into the user's cache; none of its files is kept here. The
    cd tests; python -m clients.sdk_suites blob|share|adlfs [-k WORDS] [--only FILE ...] [--jsonl R]
names, through the proxy. That of adlfs, made for an emulator in a container, gets the service's URL instead.
`expected/NAME.txt` lists what does not pass, each with its reason.
"""

import argparse
import collections
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.arm import Arm
from harness.service import Service, clean_environment
from harness.venvs import cache_directory, interpreter, python_with

HERE = Path(__file__).resolve().parent
_RUNNER = (
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
    "pytest-timeout==2.4.0",
    "aiohttp==3.14.5",
    "azure-identity==1.27.0",
)
_OF_AZURE = (
    *_RUNNER,
    "azure-mgmt-storage==25.3.0",
    "pyjwt==2.15.1",
    "requests==2.34.2",
    "cryptography==50.0.2",
    "azure-storage-extensions==0.1.0",
)
_OTHER_ACCOUNTS = ("secondary", "blob", "versioned", "premium", "softdelete")
_VARIABLES = {
    "SECONDARY_STORAGE": "secondary",
    "BLOB_STORAGE": "blob",
    "VERSIONED_STORAGE": "versioned",
    "PREMIUM_STORAGE": "premium",
    "PREMIUM_STORAGE_FILE": "premium",
    "SOFT_DELETE_STORAGE": "softdelete",
}


@dataclass(frozen=True)
class Prepared:
    """Where pytest runs, what it is told, and with which environment; through the proxy or not."""

    directory: Path
    words: list[str]
    environment: dict[str, str]
    proxied: bool


@dataclass(frozen=True)
class Suite:
    """`also` are packages that its tests import besides its own."""

    name: str
    package: str
    version: str
    also: tuple[str, ...]
    prepare: Callable[["Suite", Service, Path], Prepared]

    @property
    def pins(self) -> tuple[str, ...]:
        return (f"{self.package}=={self.version}", *self.also)


def source_of(suite: Suite) -> Path:
    """The unpacked source distribution; fetched on the first call. Raises LookupError without a network."""
    place = cache_directory() / f"{suite.package}-{suite.version}-source"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-binary",
                ":all:",
            ]
            done = subprocess.run(
                [*command, "--dest", scratch, f"{suite.package}=={suite.version}"],
                capture_output=True,
                text=True,
            )
            archives = list(Path(scratch).glob("*.tar.gz"))
            if done.returncode != 0 or not archives:
                raise LookupError(f"{suite.package} {suite.version} cannot be fetched: {done.stderr[-300:]}")
            with tarfile.open(archives[0]) as archive:
                archive.extractall(Path(scratch) / "out", filter="data")
            [unpacked] = (Path(scratch) / "out").iterdir()
            unpacked.rename(place)
    return place


def accounts(service: Service) -> dict[str, str]:
    """The environment variables that name the accounts the suites use; those but the first are made here."""
    arm = Arm(service)
    group = arm.group("suites")
    keys: dict[str, tuple[str, str]] = {}
    for word in _OTHER_ACCOUNTS:
        name = f"suites{word}"
        path = f"{arm.group_path(group)}/providers/Microsoft.Storage/storageAccounts/{name}"
        body = {"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}}
        arm.put(path, body, version="2018-02-01")
        answer = arm.ask("POST", f"{path}/listKeys", version="2018-02-01").json()
        keys[word] = (name, answer["keys"][0]["value"])
    keep_deleted_blobs(service, *keys["softdelete"])
    variables = {"STORAGE_ACCOUNT_NAME": service.account, "STORAGE_ACCOUNT_KEY": service.key}
    for prefix, word in _VARIABLES.items():
        variables[f"{prefix}_ACCOUNT_NAME"], variables[f"{prefix}_ACCOUNT_KEY"] = keys[word]
    return variables


def keep_deleted_blobs(service: Service, account: str, key: str) -> None:
    from azure.storage.blob import BlobServiceClient, RetentionPolicy

    with BlobServiceClient(f"{service.endpoint['blob']}/{account}", credential=key) as client:
        client.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=2))


def _as_azure(suite: Suite, service: Service, scratch: Path) -> Prepared:
    tests = scratch / "tests"
    shutil.copytree(source_of(suite) / "tests", tests)
    environment = {
        **accounts(service),
        "SUITE_RUN": str(tests),
        "PYTHONPATH": os.pathsep.join((str(HERE / "shim"), str(tests))),
        "AZURE_TEST_RUN_LIVE": "true",
        "AZURE_SKIP_LIVE_RECORDING": "true",
        "AZURE_TENANT_ID": service.endpoint["tenant"],
        "AZURE_CLIENT_ID": service.endpoint["client_id"],
        "AZURE_CLIENT_SECRET": service.endpoint["client_secret"],
        "AZURE_SUBSCRIPTION_ID": service.endpoint["subscription_id"],
        "STORAGE_RESOURCE_GROUP_NAME": "suites",
    }
    # These two send bodies of 4,000 MiB from memory, and those are not tests at all.
    left_out = [*tests.glob("test_largest_block_blob*.py"), tests / "perfstress_tests"]
    return Prepared(tests, [f"--ignore={path}" for path in left_out], environment, proxied=True)


def _as_emulator(suite: Suite, service: Service, scratch: Path) -> Prepared:
    """adlfs keeps the emulator's address and key in a module of constants; ours take their place."""
    package = scratch / "adlfs"
    shutil.copytree(source_of(suite) / "adlfs", package)
    constants = package / "tests/constants.py"
    host = service.endpoint["blob"].removeprefix("http://")
    text = constants.read_text()
    text = text.replace("127.0.0.1:10000", host).replace("devstoreaccount1", service.account)
    text = re.sub('KEY = "[^"]*"', f'KEY = "{service.key}"', text)
    constants.write_text(text)
    environment = {"PYTHONPATH": os.pathsep.join((str(HERE / "shim"), str(scratch)))}
    return Prepared(scratch, ["adlfs/tests", "--host", host], environment, proxied=False)


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "blob",
            "azure-storage-blob",
            "12.31.1",
            ("azure-storage-file-share==12.27.1", "pyarrow==26.0.1", "nanoarrow==0.8.0", *_OF_AZURE),
            _as_azure,
        ),
        Suite(
            "share",
            "azure-storage-file-share",
            "12.27.1",
            ("azure-storage-blob==12.31.1", *_OF_AZURE),
            _as_azure,
        ),
        Suite(
            "adlfs",
            "adlfs",
            "2026.8.0",
            (
                "azure-storage-blob==12.31.1",
                "pandas==3.1.1",
                "dask[dataframe]==2026.8.0",
                "numpy==2.4.6",
                "pytest-mock==3.17.0",
                *_RUNNER,
            ),
            _as_emulator,
        ),
    )
}


@dataclass
class Result:
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def failed(self) -> dict[str, str]:
        return {test: why for test, (outcome, why) in self.outcomes.items() if outcome == "failed"}

    def counts(self) -> dict[str, int]:
        return dict(collections.Counter(outcome for outcome, _ in self.outcomes.values()))


def run(
    suite: Suite,
    service: Service,
    words: list[str],
    *,
    only: list[str] | None = None,
    report: Path | None = None,
    limit_s: float | None = None,
) -> Result:
    """One run of the suite. `words` go to pytest; a run longer than `limit_s` seconds is ended."""
    python = python_with(suite.pins)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = suite.prepare(suite, service, Path(scratch))
        report = report or Path(scratch) / "report.jsonl"
        report.unlink(missing_ok=True)
        command = [
            str(python),
            "-m",
            "pytest",
            "-q",
            "-p",
            "devtools_testutils.plugin",
            "-p",
            "no:cacheprovider",
        ]
        command += [
            "-o",
            "asyncio_mode=auto",
            "--timeout=600",
            "--tb=no",
            *prepared.words,
            *words,
        ]
        environment = {**prepared.environment, "SUITE_REPORT": str(report)}
        start = service.run if prepared.proxied else _run
        try:
            done = start(command + (only or []), env=environment, cwd=prepared.directory, timeout=limit_s)
            last = done.stdout[-2000:] + done.stderr[-2000:]
        except subprocess.TimeoutExpired:
            last = "ended at its limit of time"
        result = Result()
        if not report.exists():
            raise RuntimeError(f"the suite did not run: {last}")
        for line in report.read_text().splitlines():
            entry = json.loads(line)
            result.outcomes[entry["test"]] = (entry["outcome"], entry["why"])
        return result


def _run(command: list[str], *, env: dict[str, str], **options: Any) -> "subprocess.CompletedProcess[str]":
    environment = {**clean_environment(), **env}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def expected_failures(suite: Suite) -> dict[str, str]:
    """Patterns of test ids and the reason of each, from `expected/`."""
    expected = {}
    for line in (HERE / "expected" / f"{suite.name}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, _, reason = line.partition("  ")
            expected[pattern.strip()] = reason.strip()
    return expected


def matches(test: str, pattern: str) -> bool:
    # A parameter's brackets are no set of characters here.
    return fnmatch.fnmatchcase(test, pattern.replace("[", "[[]"))


def surprises(result: Result, expected: dict[str, str]) -> tuple[list[str], list[str]]:
    """Failures that no line explains, and lines that no failure needs."""
    failed = result.failed()
    new = [f"{test}: {why}" for test, why in failed.items() if not any(matches(test, p) for p in expected)]
    # With a network, or with files that this machine lacks, what fails for the harness alone may pass.
    strict = [pattern for pattern, reason in expected.items() if not reason.startswith("harness")]
    stale = [pattern for pattern in strict if not any(matches(test, pattern) for test in failed)]
    return new, stale


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("-k", default="")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--jsonl", type=Path)
    parser.add_argument("--limit", type=float, help="seconds")
    options = parser.parse_args()
    if interpreter() is None:
        parser.error("there is no python3.11, on which the suites run")
    suite = SUITES[options.suite]
    with tempfile.TemporaryDirectory() as scratch:
        service = Service(Path(scratch) / "home").up()
        try:
            words = ["-k", options.k] if options.k else []
            result = run(
                suite, service, words, only=options.only, report=options.jsonl, limit_s=options.limit
            )
        finally:
            service.discard()
    new, stale = surprises(result, expected_failures(suite))
    print(result.counts())
    print("\n".join(new))
    if not (options.k or options.only):
        print("\n".join(f"listed, but it passes: {pattern}" for pattern in stale))
    return bool(new)


if __name__ == "__main__":
    sys.exit(main())
