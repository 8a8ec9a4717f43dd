"""What the documents say stays true."""

import re
from pathlib import Path

import pytest

from openbatchai.domain.clusters import ALLOCATION, NODE
from openbatchai.domain.jobs import JOB
from openbatchai.domain.runs import RUN

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("machine", [JOB, RUN, NODE, ALLOCATION], ids=lambda machine: machine.kind)
def test_the_state_diagrams_are_those_of_the_tables(machine):
    text = (ROOT / "docs/architecture.md").read_text()
    diagrams = re.findall(r"```mermaid\n(.*?)\n```", text, re.DOTALL)
    assert machine.diagram() in diagrams, f"put this into docs/architecture.md:\n{machine.diagram()}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_the_lines_to_paste_are_those_that_are_run():
    """The README's install and test lines, the make commands and .ci/run say the same."""
    install = "pip install -c constraints.txt -e ./packages/cntk -e '.[dev]'"
    assert install in (ROOT / "README.md").read_text()
    assert install in (ROOT / "Makefile").read_text()
    assert install.removeprefix("pip install ") in (ROOT / ".ci/run").read_text()
