"""python tools/suspects.py ... is visionkit suspects ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["suspects", *sys.argv[1:]]))
