"""python tools/evaluate.py ... is visionkit evaluate ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
