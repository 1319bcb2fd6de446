"""Photos without annotations."""

from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.data.files import load_image, sample_ids
from visionkit.image_files import find_images, relative_names
from visionkit.images import image_size
from visionkit.types import Sample


def photos(root: Path | str) -> Dataset:
    """Reads the images that `root` names: a folder with everything below it, an image, a glob or a list.

    The data set has no classes.

    Raises:
        DataError: there are no images, or one cannot be read; names it.
    """
    files = find_images(root)
    ids = sample_ids([Path(name) for name in relative_names(files)])
    records = [Sample(id=id, file=file, image_size=image_size(file)) for id, file in zip(ids, files, strict=True)]
    return Dataset(records, [], load_image, "photos")
