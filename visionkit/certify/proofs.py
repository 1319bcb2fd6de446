"""What is proven for each model beside the original: the figures, with the day when each was found."""

import json
from importlib.resources import files

KINDS = ("forward", "loss", "30 steps", "30 steps on JAX", "exports")


def read_proofs() -> dict[str, dict[str, tuple[str, str]]]:
    """{model: {kind of proof, see `KINDS`: (figure, date)}}, from proofs.json beside this file."""
    text = files("visionkit.certify").joinpath("proofs.json").read_text(encoding="utf-8")
    return {
        name: {kind: (figure, date) for kind, (figure, date) in kinds.items()}
        for name, kinds in json.loads(text).items()
    }


def rows(name: str) -> list[str]:
    """One line for each kind of proof of the model `name`."""
    proofs = read_proofs()[name]
    return [f"  {kind:16} {'  '.join(proofs.get(kind, ('not proven', '')))}".rstrip() for kind in KINDS]


def table() -> str:
    """All proofs as a table in Markdown."""
    lines = [f"| model | {' | '.join(KINDS)} |", "|---" * (1 + len(KINDS)) + "|"]
    for name, proofs in read_proofs().items():
        cells = [f"{proofs[kind][0]} ({proofs[kind][1]})" if kind in proofs else "-" for kind in KINDS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)
