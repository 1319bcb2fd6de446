"""`python holds_lock.py FOLDER`: locks the folder, says so, and holds the lock until it is killed or its stdin ends."""

import sys
from pathlib import Path

from visionkit.files import locked

if __name__ == "__main__":
    with locked(Path(sys.argv[1])):
        print("locked", flush=True)
        sys.stdin.read()
