"""python tools/doctor.py ... is visionkit doctor ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
