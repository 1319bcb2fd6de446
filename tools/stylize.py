"""python tools/stylize.py ... is visionkit stylize ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["stylize", *sys.argv[1:]]))
