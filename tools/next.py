"""python tools/next.py ... is visionkit next ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["next", *sys.argv[1:]]))
