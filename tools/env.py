"""python tools/env.py ... is visionkit env ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["env", *sys.argv[1:]]))
