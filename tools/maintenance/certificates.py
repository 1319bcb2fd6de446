"""Maintains the proofs of `visionkit certify`: a maintenance script, not a verb.

python tools/maintenance/certificates.py run [NAME ...]            repeats courses, and files their figures and the date
python tools/maintenance/certificates.py file NAME KIND "FIGURE"   files another proof of today, such as forward
python tools/maintenance/certificates.py                           writes the table of docs/certificates.md

With KERAS_BACKEND=jax, `run` files the figures of JAX.
"""

import datetime
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from visionkit.certify.proofs import KINDS, read_proofs, table  # noqa: E402

PROOFS = ROOT / "visionkit" / "certify" / "proofs.json"
PAGE = ROOT / "docs" / "certificates.md"


def run(names: list[str]) -> None:
    """Repeats the courses and files what came of them."""
    import keras

    from visionkit.certify.courses import BUILD, certify

    kind = "30 steps on JAX" if keras.backend.backend() == "jax" else "30 steps"
    for name in names or BUILD:
        found = certify(name)
        print(name, found, flush=True)
        if not found.ok:
            raise SystemExit(f"{name}: differs from torchvision's course; nothing was filed for it")
        losses, norms = max(found.losses.values()), max(found.norms.values())
        file(name, kind, f"losses {losses:.0e}, norms {norms:.0e}")


def file(name: str, kind: str, figure: str) -> None:
    """Files one proof, with today's date."""
    if kind not in KINDS:
        raise SystemExit(f"{kind!r} is no kind of proof; there are {', '.join(KINDS)}")
    proofs = read_proofs()
    proofs.setdefault(name, {})[kind] = (figure, datetime.date.today().isoformat())
    ordered = {each: {kind: proofs[each][kind] for kind in KINDS if kind in proofs[each]} for each in sorted(proofs)}
    PROOFS.write_text(json.dumps(ordered, indent=2) + "\n")


def page(text: str) -> str:
    """The page's text with the table in its place."""
    return re.sub(r"(<!-- proofs -->\n).*(<!-- /proofs -->)", rf"\g<1>{table()}\n\g<2>", text, flags=re.S)


if __name__ == "__main__":
    verb, *words = sys.argv[1:] or [""]
    if verb == "run":
        run(words)
    elif verb == "file":
        file(*words)
    PAGE.write_text(page(PAGE.read_text()))
