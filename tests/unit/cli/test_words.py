"""Where the words of a command begin that `batchai run` becomes."""

import pytest

from openbatchai.cli.words import with_command_apart


@pytest.mark.parametrize(
    ("given", "parted"),
    [
        ("run az group create -n x", "run -- az group create -n x"),
        ("run python x.py --flag", "run -- python x.py --flag"),
        ("run --home /h python x.py --home y", "run --home /h -- python x.py --home y"),
        ("run --home=/h --debug az --debug", "run --home=/h --debug -- az --debug"),
        ("--debug run az", "--debug run -- az"),
        ("run sh -c true -- --", "run -- sh -c true -- --"),
        ("run -- az -h", "run -- az -h"),
        ("run --home /h -- az", "run --home /h -- az"),
        ("run -h", "run -h --"),
        ("run", "run --"),
        ("run --home", "run --home --"),
        ("up --detach", "up --detach"),
        ("env --home run", "env --home run"),
        ("", ""),
    ],
)
def test_the_command_is_parted_from_our_options(given, parted):
    assert with_command_apart(given.split()) == parted.split()
