"""Runs the Python blocks of one document, as printed, in this process; only the standard library besides.

    python seed_driver.py DOCUMENT VALUES.json REPORT.json

`VALUES` fill the placeholders of the first block. Between blocks this harness waits and looks with code of
its own; the printed code is never changed, except for the indentation of list items, which is Markdown's.
"""

import contextlib
import io
import json
import re
import sys
import textwrap
import time
from pathlib import Path

_BLOCK = re.compile(r"^[ ]*```Python[ ]*\n(.*?)^[ ]*```[ ]*$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"^(\w+) = '(?:my_\w+|FILL-IN-HERE)'$", re.MULTILINE)
_URL = re.compile(r"^file: (.*), download url: (.*)$", re.MULTILINE)
_LIMIT_S = 240


def blocks_of(text):
    return [textwrap.dedent(block) for block in _BLOCK.findall(text)]


def filled(block, values):
    return _PLACEHOLDER.sub(lambda match: f"{match[1]} = {values[match[1]]!r}", block)


def until(check):
    deadline = time.monotonic() + _LIMIT_S
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(check.__name__)
        time.sleep(0.05)
    return answer


def is_gone(get):
    """Whether the client's call answers 404, in the words of its own exceptions."""
    from msrestazure.azure_exceptions import CloudError

    try:
        get()
    except CloudError as error:
        if error.status_code != 404:
            raise
        return True
    return False


class Reader:
    """What the harness does besides the document."""

    def __init__(self, names):
        self.names = names

    def finished_job(self):
        client, group = self.names["batchai_client"], self.names["resource_group_name"]
        job = client.jobs.get(group, self.names["job_name"])
        return job if job.execution_state.name in ("succeeded", "failed") else None

    def downloads(self, printed):
        """What a user gets who opens the printed links: plain requests, through the proxy."""
        import requests

        found = {}
        for name, url in _URL.findall(printed):
            answer = requests.get(url, timeout=60)
            found[name] = {
                "url": url,
                "status": answer.status_code,
                "content": answer.content.decode("latin-1"),
            }
        return found

    def all_gone(self):
        client, group = self.names["batchai_client"], self.names["resource_group_name"]
        job, cluster = self.names["job_name"], self.names["cluster_name"]
        return is_gone(lambda: client.jobs.get(group, job)) and is_gone(
            lambda: client.clusters.get(group, cluster)
        )

    def group_gone(self):
        groups = self.names["resource_management_client"].resource_groups
        return is_gone(lambda: groups.get(self.names["resource_group_name"]))


def main(document, values_file, report_file):
    text = Path(document).read_text(encoding="utf-8")
    values = json.loads(Path(values_file).read_text())
    blocks = [filled(block, values) for block in blocks_of(text)]
    names = {"__name__": "__main__"}
    reader = Reader(names)
    report = {"blocks": len(blocks), "printed": [], "files": {}}
    for i, block in enumerate(blocks):
        if "list_output_files" in block and "job" not in report:
            job = until(reader.finished_job)
            report["job"] = {"state": job.execution_state.name, "info": job.execution_info.as_dict()}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, f"{document} block {i + 1}", "exec"), names)
        report["printed"].append(printed.getvalue())
        report["files"].update(reader.downloads(printed.getvalue()))
    until(reader.all_gone)
    report["group_deleted"] = "resource_groups.delete" in text
    if report["group_deleted"]:
        until(reader.group_gone)
    Path(report_file).write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
