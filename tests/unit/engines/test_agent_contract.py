"""What the agent and the service must agree on, though the agent imports nothing of ours."""

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from openbatchai import agent
from openbatchai.agent import faults
from openbatchai.agent.expansion import expand, extended
from openbatchai.domain.errors import Fault
from openbatchai.engines.layout import file_name

MODULES = Path(agent.__file__).parent


def test_fault_codes_are_those_of_the_domain():
    codes = {value for name, value in vars(faults).items() if name.isupper()}

    assert codes
    assert codes <= set(Fault)


def test_the_agent_loads_nothing_heavy():
    probe = (
        f"import sys; sys.path.insert(0, {str(MODULES.parent.parent)!r}); import openbatchai.agent.task;"
        "print(*sorted(sys.modules))"
    )

    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", probe], capture_output=True, text=True, check=True
    )

    loaded = set(answer.stdout.split())
    assert not loaded & {
        "asyncio",
        "ssl",
        "http",
        "socket",
        "subprocess",
        "pathlib",
        "typing",
        "logging",
        "threading",
    }
    ours = {name for name in loaded if name.startswith("openbatchai")}
    assert ours == {"openbatchai"} | {name for name in ours if name.startswith("openbatchai.agent")}


def test_expansion_is_that_of_a_shell():
    variables = {"A": "x", "AB": "y"}

    assert expand("$A/${A}B/$AB/$NONE/$1/$", variables) == "x/xB/y//$1/$"
    assert extended(variables, {"C": "$A$AB", "D": "$C!", "A": "$A$A"}) == {
        "A": "xx",
        "AB": "y",
        "C": "xy",
        "D": "xy!",
    }


@given(st.text(st.characters(exclude_characters="$", exclude_categories=("Cs",))))
def test_text_without_a_reference_stays(text):
    assert expand(text, {"A": "x"}) == text


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_any_id_becomes_one_visible_component(identity):
    name = file_name(identity)

    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")


@given(st.text(st.characters(exclude_categories=("Cs",))), st.text(st.characters(exclude_categories=("Cs",))))
def test_different_ids_have_different_names(one, other):
    assert (file_name(one) == file_name(other)) == (one == other)
