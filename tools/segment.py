"""python tools/segment.py ... is visionkit segment ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["segment", *sys.argv[1:]]))
