"""python tools/selftest.py ... is visionkit selftest ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["selftest", *sys.argv[1:]]))
