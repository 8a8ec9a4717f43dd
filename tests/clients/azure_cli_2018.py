"""azure-cli 2.0.50 of October 2018 with its own batchai module 0.4.4, on the Python of today.

The newest of everything that still works together, found once; their declared needs contradict each other.
"""

from pathlib import Path

from .conftest import environment_with

PINS = (
    "adal==1.2.7",
    "antlr4-python3-runtime==4.7.1",
    "applicationinsights==0.11.10",
    "argcomplete==3.7.2",
    "azure-cli==2.0.50",
    "azure-cli-batchai==0.4.4",
    "azure-cli-cloud==2.1.0",
    "azure-cli-command-modules-nspkg==2.0.2",
    "azure-cli-core==2.0.50",
    "azure-cli-nspkg==3.0.3",
    "azure-cli-profile==2.1.2",
    "azure-cli-resource==2.1.7",
    "azure-cli-storage==2.2.5",
    "azure-cli-telemetry==1.0.0",
    "azure-common==1.1.28",
    "azure-core==1.41.0",
    "azure-datalake-store==0.0.53",
    "azure-graphrbac==0.40.0",
    "azure-mgmt-authorization==0.50.0",
    "azure-mgmt-batchai==2.0.0",
    "azure-mgmt-managementgroups==0.1.0",
    "azure-mgmt-nspkg==3.0.2",
    "azure-mgmt-policyinsights==0.1.0",
    "azure-mgmt-resource==2.0.0",
    "azure-mgmt-storage==3.1.1",
    "azure-multiapi-storage==0.2.2",
    "azure-nspkg==3.0.2",
    "azure-storage-blob==1.3.1",
    "azure-storage-common==1.3.0",
    "azure-storage-file==1.3.1",
    "azure-storage-nspkg==3.1.0",
    "bcrypt==5.0.0",
    "certifi==2026.10.18",
    "cffi==2.1.1",
    "charset-normalizer==3.5.2",
    "colorama==0.4.6",
    "cryptography==50.0.2",
    "humanfriendly==10.0",
    "idna==3.20",
    "invoke==3.0.3",
    "isodate==0.7.2",
    "jmespath==1.1.0",
    "knack==0.4.5",
    "mock==5.2.0",
    "msrest==0.6.21",
    "msrestazure==0.6.4.post1",
    "oauthlib==4.0.1",
    "paramiko==5.1.0",
    "portalocker==4.4.2",
    "pycparser==3.12",
    "Pygments==2.21.0",
    "PyJWT==2.15.1",
    "PyNaCl==1.6.2",
    "pyOpenSSL==26.4.0",
    "python-dateutil==4.0.0",
    "PyYAML==6.0.3",
    "requests==2.34.2",
    "requests-oauthlib==2.0.0",
    "six==1.17.0",
    "sshtunnel==0.1.5",
    "tabulate==0.8.2",
    "typing_extensions==4.16.0",
    "tzdata==2026.6",
    "urllib3==2.8.0",
)
_COMPAT = Path(__file__).with_name("compat_2018")


def program(directory: Path) -> Path:
    """A script in `directory` that runs it."""
    python = environment_with(PINS, "--no-deps")
    script = directory / "az-2018"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={_COMPAT} exec {python} -W ignore -m azure.cli "$@"\n')
    script.chmod(0o755)
    return script
