"""python tools/guarantee.py ... is visionkit guarantee ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["guarantee", *sys.argv[1:]]))
