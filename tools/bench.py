"""python tools/bench.py ... is visionkit bench ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
