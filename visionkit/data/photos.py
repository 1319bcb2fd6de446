"""Photos without annotations: any folder of images."""

from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.data.files import load_image, sample_ids
from visionkit.images import find_images, image_size
from visionkit.types import Sample


def photos(root: Path | str) -> Dataset:
    """Every image in `root` and the folders below it, or the one image `root`; they have no classes.

    Raises:
        DataError: there is none, or one cannot be read; names it.
    """
    root = Path(root)
    files = find_images(root)
    ids = sample_ids([file.relative_to(root if root.is_dir() else root.parent) for file in files])
    records = [Sample(id=id, file=file, image_size=image_size(file)) for id, file in zip(ids, files, strict=True)]
    return Dataset(records, [], load_image, "photos")
