"""Maintains the table and the picture of speed in docs/export.md: a maintenance script, not a verb.

python tools/maintenance/speed.py add bench/ratios.json  files the result of `make bench`, then does the same as without
python tools/maintenance/speed.py                        writes the table and docs/speed.png from what is filed
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))
import ratio_table  # noqa: E402

FILED = ROOT / "docs" / "results" / "speed" / "ratios.json"
PAGE, PICTURE = ROOT / "docs" / "export.md", ROOT / "docs" / "speed.png"


def page(text: str) -> str:
    """The page's text with the table in its place."""
    table = ratio_table.markdown(_table())
    return re.sub(r"(<!-- speed -->\n).*(<!-- /speed -->)", rf"\g<1>{table}\n\g<2>", text, flags=re.S)


def digest() -> str:
    """Of what is filed. The picture holds it, which tells from what it was drawn."""
    return hashlib.sha256(FILED.read_bytes()).hexdigest()


def _table() -> ratio_table.Table:
    return ratio_table.inferences(json.loads(FILED.read_text()))


def write(measured: Path | None = None) -> None:
    """Writes the table and the picture; files `measured`, a new ratios.json, before."""
    if measured:
        shutil.copyfile(measured, FILED)
    PAGE.write_text(page(PAGE.read_text()))
    ratio_table.draw(_table(), PICTURE, Description=digest())


if __name__ == "__main__":
    write(Path(sys.argv[2]) if sys.argv[1:2] == ["add"] else None)
