"""python tools/calibrate.py ... is visionkit calibrate ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
