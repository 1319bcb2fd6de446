"""Functions on tensors in `keras.ops` alone: boxes, anchors, matching, sampling, suppression, RoIAlign, losses."""
