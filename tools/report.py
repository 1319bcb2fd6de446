"""python tools/report.py ... is visionkit report ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
