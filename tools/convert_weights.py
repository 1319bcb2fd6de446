"""python tools/convert_weights.py ... is visionkit convert_weights ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert_weights", *sys.argv[1:]]))
