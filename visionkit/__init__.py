"""visionkit: image classification, object detection, segmentation and style transfer on Keras 3."""

__version__ = "0.1.0"
