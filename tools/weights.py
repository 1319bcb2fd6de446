"""python tools/weights.py ... is visionkit weights ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["weights", *sys.argv[1:]]))
