"""A trained style network as a SavedModel, bytes in and PNG bytes out: python tools/export_style.py RUN OUT PHOTO...

The export runs in a fresh process without visionkit and is compared with the network on the photos.
"""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"  # which alone writes SavedModels

from visionkit.export.style_saved_model import export_style
from visionkit.image_files import find_images
from visionkit.open_model import keras_path, open_style_network


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    run, out, *photos = sys.argv[1:]
    report = export_style(open_style_network(keras_path(Path(run))), Path(out), find_images(photos)[:20])
    print(f"{out}: {report['pictures']} pictures agree within {report['difference_maximum']} grey levels")


if __name__ == "__main__":
    main()
