"""python tools/finetune.py ... is visionkit finetune ..."""

import sys

from visionkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
