"""python tools/certify.py ... is visionkit certify ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["certify", *sys.argv[1:]]))
