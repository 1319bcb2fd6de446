"""python tools/detect.py ... is visionkit detect ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["detect", *sys.argv[1:]]))
