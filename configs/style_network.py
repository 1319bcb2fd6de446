"""A network that paints photos in one pass (arXiv 1603.08155), learned from photos and one or several paintings.

PATH holds content/, photos of any size, and style/, paintings; --photos and --styles name them if elsewhere.

Run:      visionkit train configs/style_network.py --data-dir PATH
Then:     visionkit stylize PHOTOS_OR_VIDEO --model RUN --out FOLDER
Reached:  The Starry Night from 500 photos with --precision mixed_bfloat16, 54 min on 2 CPU cores with AMX: on 20 others
          1.40 times the style loss of 200 steps of L-BFGS by the same weights, 1.64 times the whole loss; on the four
          of docs/style_network.jpg 1.50 and 1.48 (tools/maintenance/style_score.py); a picture of 256 pixels takes
          0.10 to 0.19 s.
"""

from pathlib import Path

from visionkit.data.batches import steps_per_epoch
from visionkit.data.photos import photos as read_photos
from visionkit.data.render import Transform
from visionkit.data.views import Flip, RandomResizedCrop, ScaleJitter
from visionkit.image_files import find_images
from visionkit.images import read_image
from visionkit.open_model import open_features
from visionkit.style.canvas import Weights
from visionkit.style.losses import CONTENT_LEVELS, take_features
from visionkit.style.network import StyleNetwork
from visionkit.style.optimise import scaled
from visionkit.train.muon import ConvolutionMuon
from visionkit.train.recipe import Phase, Recipe, schedule
from visionkit.types import DataError


def recipe(
    data_dir: Path,
    photos: Path | None = None,
    styles: Path | None = None,
    steps: int = 22000,
    finish: float = 0.26,
    lr: float = 2e-3,
    batch_size: int | None = None,
    crop: int = 160,
    style_size: int = 256,
    width: int = 24,
    blocks: int = 5,
    content_weight: float = 1.0,
    style_weight: float = 1.0,
    smooth_weight: float = 0.5,
    palette_weight: float = 0.2,
    features: str = "vgg16_hed_bsds500",
    seed: int = 0,
) -> Recipe:
    """The rows of a batch are painted in the styles in turn, so that all are learned equally.

    Args:
        photos: a folder, a glob or a .txt list of files; by default content/ of `data_dir`.
        styles: a painting or a folder of them, each a style named after its file; by default style/ of `data_dir`.
        steps: of the optimizer. Many steps with small batches learn more in a minute than few with large ones.
        lr: until `finish`; from there on, after a second warm-up, it falls to zero.
        finish: share of the epochs, at the end, that see views as large as a picture of `style_size`. After crops
            alone, a short training on such views lowered the style loss of whole pictures.
        batch_size: by default one photo per style.
        crop: side in pixels of the crops to learn from, a multiple of 4.
        style_size: long side of the paintings in pixels; a smaller one gives finer strokes.
        style_weight: 5 gives more of the painting and less of the photo.
        width: channels of the network at full size; the paper has 32.
        blocks: residual blocks; the paper has 5.
        features: published weights of the VGG whose features the losses compare.
    """
    paintings = find_images(styles or data_dir / "style")
    batch_size = batch_size or len(paintings)
    if len(paintings) > batch_size:
        raise DataError(f"{len(paintings)} styles need a batch of at least as many photos; found {batch_size=}")
    train, size = read_photos(photos or data_dir / "content"), (crop, crop)
    names = [painting.stem for painting in paintings]
    critic = open_features(features)
    encoder = take_features(critic, CONTENT_LEVELS)
    model = StyleNetwork(encoder, len(names), class_names=names, image_size=size, width=width, blocks=blocks)
    weights = Weights(content=content_weight, style=style_weight, smooth=smooth_weight, palette=palette_weight)
    model.learn_from(critic, [scaled(read_image(file), style_size) for file in paintings], weights)
    per_epoch = steps_per_epoch(train, batch_size)
    epochs = max(1, round(steps / per_epoch))
    last = round(finish * epochs)

    def optimizer(epochs, shape):
        rate = schedule(epochs * per_epoch, lr, shape=shape)
        apart = {"exclude_layers": ["^out/"], "adam_lr_ratio": 0.5}
        return ConvolutionMuon(rate, weight_decay=None, adam_weight_decay=None, **apart)

    whole = (round(style_size * 11 / 64) * 4, round(style_size / 4) * 4)  # 11:16, between photos of 3:4 and of 9:16
    closing = Transform(whole, "stretch", (RandomResizedCrop(whole, 0.6), Flip(0.5)))
    phases = [
        Phase(epochs - last, optimizer(epochs - last, "constant" if last else "cosine")),
        Phase(last, optimizer(last, "cosine"), transform=closing),
    ]
    print(f"{len(train)} photos, styles {', '.join(names)}; {epochs} epochs of {per_epoch} steps")
    return Recipe(
        model=model,
        train=train,
        # At 1.6 a photo has, by default, the paintings' 256 pixels; below 1.5 one of 3:2 would not fill the crop.
        transform=Transform(size, "stretch", (ScaleJitter(1.5, 2.1, size), Flip(0.5))),
        phases=[phase for phase in phases if phase.epochs],
        batch_size=batch_size,
        seed=seed,
    )
