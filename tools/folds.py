"""python tools/folds.py ... is visionkit folds ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["folds", *sys.argv[1:]]))
