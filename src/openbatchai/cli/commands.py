"""The table of commands, on knack, the framework of `az` itself: `-o table`, `--query`, `--help`."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from knack import CLI
from knack.arguments import ArgumentsContext
from knack.commands import CLICommandsLoader, CommandGroup
from knack.help import CLIHelp
from knack.help_files import helps

from openbatchai import __version__
from openbatchai.config import FSYNC_POLICIES

from . import tables
from .words import OwnFlags, with_command_apart

helps[""] = """
type: group
short-summary: Azure Batch AI, self-hosted.
"""
helps["up"] = """
type: command
short-summary: Start the service and keep it in the foreground.
long-summary: >
    Prints where everything is and writes endpoint.json into the home. Ports and credentials are chosen at
    the first start and kept. Jobs run as processes of the user who starts the service, and are as trusted as
    that user; when root starts it, as the user `openbatchai` or `nobody` where that is possible. SIGTERM and
    Ctrl-C stop the service; jobs that run go on, and the next start finds them again. With --detach, one
    that already runs on the home is shown.
examples:
    - name: Start in the background, look, stop
      text: |
        batchai up --detach
        batchai status
        batchai down
"""
helps["status"] = """
type: command
short-summary: Show whether a service runs on this home, and where.
long-summary: Exit code 0 when it runs and answers, 3 when none runs, 4 when it does not answer.
"""
helps["down"] = """
type: command
short-summary: Stop the service of this home. Jobs that run go on.
"""
helps["env"] = """
type: command
short-summary: Print the environment that sends Azure clients to this service.
examples:
    - name: Point this shell's Azure clients at the service
      text: eval "$(batchai env)"
    - name: For another machine, which has a copy of ca/bundle.pem
      text: batchai env --address 192.0.2.7 --ca-bundle /etc/batchai.pem
"""
helps["run"] = """
type: command
short-summary: Run one command whose Azure clients reach this service.
long-summary: >
    Options of batchai stand before COMMAND; everything from COMMAND on is its own. `--` may part the two.
examples:
    - name: A script from 2018, unmodified
      text: batchai run python script.py --epochs 3
    - name: The same on another home
      text: batchai run --home /data/batchai -- python script.py --epochs 3
"""
helps["login"] = """
type: command
short-summary: Log the Azure command line in as this home's service principal.
long-summary: >
    Then `batchai run az …` works. What az keeps of it is in the home, apart from a login at Azure, unless
    AZURE_CONFIG_DIR names another directory.
examples:
    - name: Once, and then any command
      text: |
        batchai login
        batchai run az group list --output table
"""
helps["samples"] = """
type: group
short-summary: Files that a document of 2018 fetches by URL, answered by this service's proxy.
long-summary: >
    The quickstart for az fetches a data set from the account `batchaisamples` and a training script from
    `raw.githubusercontent.com`. Enabled, these two URLs give a data set (MNIST when the home has it, else the
    digits that come with the package) and a training script of ours. Every other path of the script's host
    comes from the real host. Disabled, as at first, connections to that host pass untouched.
"""
helps["samples enable"] = """
type: command
short-summary: Answer the two URLs; given again, with the data that is chosen then.
examples:
    - name: The document's own commands
      text: |
        batchai samples enable
        batchai run wget https://raw.githubusercontent.com/Azure/BatchAI/master/recipes/CNTK/\
        CNTK-GPU-Python/ConvNet_MNIST.py
"""
helps["samples disable"] = """
type: command
short-summary: Answer them no more.
"""
helps["samples show"] = """
type: command
short-summary: Show which URL is answered, and by which file.
"""
helps["secret"] = """
type: group
short-summary: The local secret store behind Key Vault's URLs.
long-summary: >
    A cluster or job may name a secret as `{"sourceVault": {"id": …}, "secretUrl":
    "https://VAULT.vault.azure.net/secrets/NAME"}` instead of giving its value. It is read when a task starts.
"""
helps["secret set"] = """
type: command
short-summary: Store a new version of a secret.
examples:
    - name: From standard input, so that no value stands in the shell's history
      text: batchai secret set --vault-name myvault --name storagekey < key.txt
"""
helps["secret list"] = """
type: command
short-summary: List the secrets, without their values.
"""
helps["secret delete"] = """
type: command
short-summary: Remove a secret with all its versions.
"""
helps["events"] = """
type: command
short-summary: Show what happened to a job, cluster, node or run, and why.
examples:
    - name: A job with its runs and tasks
      text: batchai events myjob --all -o table
    - name: A resource by its id, when several have the name
      text: batchai events /resourceGroups/rg/providers/Microsoft.BatchAI/workspaces/ws/clusters/nodes
"""
helps["node"] = """
type: group
short-summary: The nodes of clusters.
"""
helps["node list"] = """
type: command
short-summary: List the nodes of a cluster.
"""
helps["node preempt"] = """
type: command
short-summary: Take a low-priority node away, as the cloud does.
long-summary: >
    Its job gets a TERM and is queued again; what it wrote to mounts stays, and its next run finds the number
    of earlier ones in OPENBATCHAI_RETRY_COUNT. The cluster gets another node. `preemptionsPerNodeHour` in the
    home's config.json does it at random, to rehearse.
examples:
    - name: One of a cluster's nodes, whichever
      text: batchai node preempt mycluster
"""
helps["cluster"] = """
type: group
short-summary: What of clusters Azure's own commands have no place for.
"""
helps["cluster idle-time"] = """
type: command
short-summary: Show or set how long an autoscale cluster keeps an idle node.
long-summary: >
    Without a time of its own a cluster has that of the home, `idleTimeoutSeconds` of config.json.
examples:
    - name: Keep idle nodes for an hour
      text: batchai cluster idle-time mycluster 3600
    - name: As long as the home says
      text: batchai cluster idle-time mycluster default
"""
helps["why"] = """
type: command
short-summary: "Say why a job waits: its place in the queue, what it needs, what is free."
examples:
    - name: In a sentence
      text: batchai why myjob --query message -o tsv
"""
helps["quickstart"] = """
type: command
short-summary: Train CNTK's MNIST ConvNet through the service, as the 2018 quickstart did.
long-summary: >
    Starts a service when none runs on this home. Trains on MNIST when it is at hand (--mnist-dir, the home's
    cache, or --download), else on the 1,797 handwritten digits of the UCI set that come with the package.
    Exit code 1 if the model does not pass; with fewer epochs than the default its error is printed and not
    judged.
"""


class _Loader(CLICommandsLoader):  # type: ignore[misc]
    def load_command_table(self, args: list[str]) -> OrderedDict[str, Any]:
        with CommandGroup(self, "", "openbatchai.cli.service#{}") as group:
            group.command("up", "up")
            group.command("status", "status")
            group.command("down", "down")
            group.command("env", "env")
            group.command("run", "run")
        with CommandGroup(self, "", "openbatchai.cli.login#{}") as group:
            group.command("login", "login")
        with CommandGroup(self, "", "openbatchai.cli.quickstart#{}") as group:
            group.command("quickstart", "quickstart")
        with CommandGroup(self, "samples", "openbatchai.cli.samples#{}") as group:
            group.command("enable", "enable_samples")
            group.command("disable", "disable_samples")
            group.command("show", "show_samples")
        with CommandGroup(self, "", "openbatchai.cli.story#{}") as group:
            group.command("events", "list_events", table_transformer=tables.events)
            group.command("why", "why", table_transformer=tables.why)
        with CommandGroup(self, "node", "openbatchai.cli.node#{}") as group:
            group.command("list", "list_nodes", table_transformer=tables.nodes)
            group.command("preempt", "preempt_node", table_transformer=tables.node)
        with CommandGroup(self, "cluster", "openbatchai.cli.cluster#{}") as group:
            group.command("idle-time", "idle_time")
        with CommandGroup(self, "secret", "openbatchai.cli.secret#{}") as group:
            group.command("set", "set_secret")
            group.command("list", "list_secrets")
            group.command("delete", "delete_secret")
        table: OrderedDict[str, Any] = super().load_command_table(args)
        return table

    def load_arguments(self, command: str) -> None:
        with ArgumentsContext(self, "") as c:
            c.argument("home", help="Directory of the installation. Default: BATCHAI_HOME, else ~/.batchai.")
        with ArgumentsContext(self, "up") as c:
            c.argument("host", help="Address to listen on. Beyond loopback only TLS is served.")
            c.argument(
                "port", type=int, help="First of four consecutive ports (management, proxy, Blob, Files)."
            )
            c.argument(
                "fsync",
                choices=FSYNC_POLICIES,
                help="What of storage is safe from a loss of power when it is answered; kept in the home. "
                "always: each part of an upload. close: whatever is complete. never: what the system has "
                "written by then. Default: close.",
            )
            c.argument(
                "detach", action="store_true", help="Return when the service answers; it stays behind."
            )
        with ArgumentsContext(self, "env") as c:
            c.argument(
                "format_",
                options_list=["--format", "-f"],
                choices=["sh", "json", "dotenv"],
                help="Output form.",
            )
            c.argument(
                "address",
                help="Print it for another machine, which reaches this one by this address or name.",
            )
            c.argument("ca_bundle", help="With --address: where that machine has a copy of ca/bundle.pem.")
        with ArgumentsContext(self, "run") as c:
            c.positional(
                "words", metavar="COMMAND", nargs="+", help="The command and its arguments, options included."
            )
        with ArgumentsContext(self, "secret") as c:
            c.argument("vault_name", help="The key vault's name, as in https://VAULT.vault.azure.net.")
            c.argument("name", options_list=["--name", "-n"], help="The secret's name.")
        with ArgumentsContext(self, "secret set") as c:
            c.argument(
                "file", options_list=["--file", "-f"], help="Where the value is. Default: standard input."
            )
        for each in ("quickstart", "samples enable"):
            with ArgumentsContext(self, each) as c:
                c.argument("mnist_dir", help="Directory with the four IDX files of MNIST (.gz or not).")
                c.argument(
                    "download", action="store_true", help="Fetch MNIST, check it, keep it in the home."
                )
        named = "A name, or a resource id; nodes, runs and tasks by their ids."
        with ArgumentsContext(self, "events") as c:
            c.positional("name", metavar="OBJECT", help=named)
            c.argument("top", type=int, help="The newest events only, so many at most.")
            c.argument(
                "all_",
                options_list=["--all"],
                action="store_true",
                help="Also those of a job's runs and tasks, or of a cluster's nodes, gone ones too.",
            )
        with ArgumentsContext(self, "node list") as c:
            c.positional("cluster", metavar="CLUSTER", help="The cluster's name, or its resource id.")
        with ArgumentsContext(self, "node preempt") as c:
            c.positional(
                "names",
                metavar="CLUSTER [NODE]",
                nargs="+",
                help="CLUSTER: its name or resource id. NODE: the id of one of its nodes, as `batchai node "
                "list` shows it; without it, one at random.",
            )
        with ArgumentsContext(self, "cluster idle-time") as c:
            c.positional(
                "words",
                metavar="CLUSTER [SECONDS]",
                nargs="+",
                help="CLUSTER: its name or resource id. SECONDS: a number, or `default` for the home's.",
            )
        with ArgumentsContext(self, "why") as c:
            c.positional("name", metavar="JOB", help="The job's name, or its resource id.")
        with ArgumentsContext(self, "quickstart") as c:
            c.argument("epochs", type=int, help="Epochs to train. Default: 3 for MNIST, 40 for the digits.")
            c.argument(
                "keep", action="store_true", help="Leave what was made (group, share, files) in place."
            )
        super().load_arguments(command)


class _Help(CLIHelp):  # type: ignore[misc]
    def __init__(self, cli_ctx: Any = None) -> None:
        super().__init__(cli_ctx, welcome_message=f"OpenBatchAI {__version__}\n", privacy_statement="")

    def show_privacy_statement(self) -> None:
        """There is none, so that none was shown need not be noted in a file of the user's."""


# What shells report of a command ended by Ctrl-C.
_INTERRUPTED = 130


class BatchAICLI(CLI):  # type: ignore[misc]
    """`batchai`."""

    @classmethod
    def create(cls) -> "BatchAICLI":
        return cls(
            cli_name="batchai",
            config_dir=str(Path("~/.config/batchai").expanduser()),
            config_env_var_prefix="BATCHAI",
            commands_loader_cls=_Loader,
            help_cls=_Help,
            logging_cls=OwnFlags,
        )

    def invoke(self, args: list[str], **options: Any) -> int:
        code: int = super().invoke(with_command_apart(args), **options)
        interrupted = self.result is not None and isinstance(self.result.error, KeyboardInterrupt)
        return _INTERRUPTED if interrupted else code

    def get_cli_version(self) -> str:
        return __version__
