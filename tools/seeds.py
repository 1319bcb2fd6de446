"""python tools/seeds.py ... is visionkit seeds ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["seeds", *sys.argv[1:]]))
