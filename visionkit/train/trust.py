"""Which run folders this user made on this machine: they bear a code that only the user's own key can make.

The key lies in the user's state folder ($XDG_STATE_HOME/visionkit/key, by default ~/.local/state/visionkit/key) and is
readable by its owner alone. Imports no framework.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any


def key_file() -> Path:
    """Where this user's key is, or will be once it is needed; a `RuntimeError` for a user without a home folder."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # as the XDG specification asks
        state = Path.home() / ".local" / "state"
    return state / "visionkit" / "key"


def seal(content: Any) -> str:
    """The HMAC-SHA256, in hexadecimal digits, of what JSON can hold, by this user's key, which is made if necessary.

    It is "" where no key can be kept, for instance because the home folder is read-only.
    """
    with contextlib.suppress(OSError, RuntimeError):
        _make_key()
    key = _key()
    return _code(key, content) if key else ""


def is_sealed(content: Any, code: Any) -> bool:
    """Whether `seal` gave `code` for `content`, with the key that this user has now."""
    key = _key()
    return (
        key is not None and isinstance(code, str) and hmac.compare_digest(_code(key, content).encode(), code.encode())
    )


def _code(key: bytes, content: Any) -> str:
    return hmac.new(key, json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _key() -> bytes | None:
    """The key; None where there is none, or where others could have read it or put it there."""
    try:
        with key_file().open("rb") as stream:
            about = os.fstat(stream.fileno())
            alone = about.st_uid == os.geteuid() and not about.st_mode & 0o077
            return (stream.read(32) if alone else b"") or None
    except (OSError, RuntimeError):
        return None


def _make_key() -> None:
    """Writes the key if there is none; of several processes that do so at once, the first one's stays."""
    file = key_file()
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)  # unlike a rename, this never replaces another process' key
    finally:
        temporary.unlink(missing_ok=True)
