"""Which words of `batchai run …` are the command's own."""

from collections.abc import Sequence

from knack.log import CLILogging

_WITH_VALUE = ("--home", "--output", "-o", "--query")
_BEFORE = (CLILogging.DEBUG_FLAG, CLILogging.VERBOSE_FLAG, CLILogging.ONLY_SHOW_ERRORS_FLAG)


def with_command_apart(args: Sequence[str]) -> list[str]:
    """`run [OPTIONS] COMMAND …` with `--` before COMMAND, unless it is there: all behind it is the command's,
    whatever it looks like. Other commands' words come back as they are."""
    at = 0
    while at < len(args) and args[at] in _BEFORE:
        at += 1
    if args[at : at + 1] != ["run"]:
        return list(args)
    at += 1
    while at < len(args) and args[at].startswith("-"):
        if args[at] == "--":
            return list(args)
        at += 2 if args[at] in _WITH_VALUE else 1
    return [*args[:at], "--", *args[at:]]


class OwnFlags(CLILogging):  # type: ignore[misc]
    """`--debug` and its like among the words of another command are not ours."""

    def configure(self, args: Sequence[str]) -> None:
        own = list(args)
        super().configure(own[: own.index("--")] if "--" in own else own)
