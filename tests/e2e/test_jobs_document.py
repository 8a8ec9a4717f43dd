"""The program of docs/jobs.md, as printed."""

import re
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/jobs.md"


def test_the_program_runs_and_runs_again(new_service, tmp_path):
    [program] = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "job.py"
    script.write_text(program)
    service = new_service().up()
    for _ in range(2):
        done = service.run([sys.executable, str(script)], timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("succeeded 0\n--- stdouterr/execution.log\n")
        assert "--- stdouterr/stdout.txt\n6\n" in done.stdout
        assert done.stdout.endswith("--- RESULT/sum.txt\n6\n")
