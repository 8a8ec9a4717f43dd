"""Secrets at rest: encrypted with a key file of the home (0600)."""

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet


class SecretBox:
    """Seals a JSON object into text that is safe to store, and opens it again."""

    def __init__(self, key_file: Path) -> None:
        self._key = _load_or_create(key_file)
        self._fernet = Fernet(self._key)

    def seal(self, value: dict[str, Any]) -> str:
        return self._fernet.encrypt(json.dumps(value).encode()).decode() if value else ""

    def open(self, text: str) -> dict[str, Any]:
        opened: dict[str, Any] = json.loads(self._fernet.decrypt(text.encode())) if text else {}
        return opened

    def derived(self, purpose: str) -> bytes:
        """A key of its own for one purpose, which tells nothing about this one."""
        return hmac.new(self._key, f"derived for {purpose}".encode(), hashlib.sha256).digest()

    def digest(self, value: Any) -> str:
        """Keyed, so that a weak secret inside `value` cannot be guessed from it."""
        return hmac.new(self._key, json.dumps(value, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _load_or_create(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    return path.read_bytes()
