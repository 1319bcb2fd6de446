"""python tools/lr_find.py ... is visionkit lr_find ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["lr_find", *sys.argv[1:]]))
