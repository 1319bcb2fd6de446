"""The page for the browser: drop an image, see what the model finds. One file, whose script and style are inside."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("page.html")


@cache
def page() -> bytes:
    """The page."""
    return FILE.read_bytes()


def _policy(text: str) -> str:
    """A Content-Security-Policy that runs and shows what stands in the page, by its hash, and nothing else."""
    rules = []
    for tag in ("script", "style"):
        content = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[0]
        rules.append(f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'")
    rules += ["default-src 'none'", "img-src blob: data:", "connect-src 'self'"]
    rules += [f"{rule} 'none'" for rule in ("base-uri", "form-action", "frame-ancestors")]
    return "; ".join(rules)


HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": _policy(page().decode()),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
