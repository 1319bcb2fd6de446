"""python tools/compare.py ... is visionkit compare ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
