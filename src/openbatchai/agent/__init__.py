"""The detached process of one task; standard library only.

An engine writes a task directory and starts `__main__.py` on it. Everything the agent needs arrives in
`task.json`; everything it has to say leaves in `events.jsonl`, `exit.json` and `execution.log`. Modules
here keep imports few, because every task pays for them: no asyncio, subprocess, pathlib, ssl or http.
"""
