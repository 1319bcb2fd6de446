"""python tools/search.py ... is visionkit search ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
