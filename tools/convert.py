"""python tools/convert.py ... is visionkit convert ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
