"""Compares two ratios.json of `make bench` and names what got slower; a maintenance script, not a verb.

    python tools/benchmarks/slower.py BEFORE/ratios.json AFTER/ratios.json [--by 0.1]

The ratios are times beside torchvision's in the same run, so files of two machines, or of two days, can be compared.
The exit code is 1 where something got slower by more than a tenth, or is no longer measured.
"""

import argparse
import json
import sys
from pathlib import Path


def compare(before: dict[str, float], after: dict[str, float], by: float) -> list[str]:
    """A line for each measure whose ratio rose by more than the share `by`, the worst first, and each that is gone."""
    factors = {name: after[name] / before[name] for name in before if name in after}
    slower = sorted((name for name, factor in factors.items() if factor > 1 + by), key=lambda name: -factors[name])
    lines = [f"{name}: {factors[name] - 1:.0%} slower ({before[name]:.2f} -> {after[name]:.2f})" for name in slower]
    return lines + [f"{name}: no longer measured" for name in before if name not in after]


def main() -> int:
    parser = argparse.ArgumentParser(description="Names what got slower between two runs of make bench.")
    parser.add_argument("before", type=Path, help="ratios.json of the earlier run")
    parser.add_argument("after", type=Path, help="ratios.json of the later one")
    parser.add_argument("--by", type=float, default=0.1, help="the share that does not count yet (default 0.1)")
    options = parser.parse_args()
    before, after = (json.loads(file.read_text()) for file in (options.before, options.after))
    lines = compare(before, after, options.by)
    print("\n".join(lines) or f"none of {len(before)} measures got slower by more than {options.by:.0%}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
