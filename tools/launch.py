"""python tools/launch.py ... is visionkit launch ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["launch", *sys.argv[1:]]))
