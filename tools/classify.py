"""python tools/classify.py ... is visionkit classify ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["classify", *sys.argv[1:]]))
