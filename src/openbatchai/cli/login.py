"""`batchai login`: the Azure command line, logged in as the home's own service principal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from knack.util import CLIError

from openbatchai.config import Home

from .environment import client_environment
from .service import running_endpoint

# These the versions of 2018 know as well as today's. The secret comes from standard input: arguments are for
# everybody to see.
_WORDS = ("login", "--service-principal", "--password", "@-")


def login(home: str | None = None) -> None:
    """Log `az` in."""
    place = Home.named(home)
    endpoint = running_endpoint(place)
    program = shutil.which("az")
    if program is None:
        raise CLIError("az is not on PATH. `pip install azure-cli` in an environment of its own brings it.")
    environment = client_environment(endpoint, place.path)
    directory = Path(environment.get("AZURE_CONFIG_DIR") or os.environ["AZURE_CONFIG_DIR"])
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.parent == place.path:
        # Ours, but az may have made it, for everybody to read.
        directory.chmod(0o700)
    who = ("--username", endpoint["client_id"], "--tenant", endpoint["tenant"])
    secret = endpoint["client_secret"].encode()
    run_with = {**os.environ, **environment}
    done = subprocess.run([program, *_WORDS, *who], input=secret, stdout=subprocess.DEVNULL, env=run_with)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"az is logged in to subscription {endpoint['subscription_id']}. It keeps that in {directory}.")
    print("Use it as  batchai run az COMMAND  or in a shell that took `batchai env`.")
