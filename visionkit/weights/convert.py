"""From the tensors of a torch checkpoint to the weights of our layers, by rule.

Two steps: a torch name becomes `layer.parameter` in our names (`RULES`, one list of regular expressions a family),
then the array takes our layout. The layer says how: what a kernel is to a Dense it is not to a Conv2D.
"""

import re
from dataclasses import dataclass

import keras
import numpy as np

from visionkit.weights.cards import coco_classes

RULES = {
    "alexnet": (),  # numbered: see `our_names`
    "vgg": (),
    "googlenet": (
        (r"\.branch1\.", "_1x1."),
        (r"\.branch2\.0\.", "_3x3_reduce."),
        (r"\.branch2\.1\.", "_3x3."),
        (r"\.branch3\.0\.", "_5x5_reduce."),
        (r"\.branch3\.1\.", "_5x5."),
        (r"\.branch4\.1\.", "_pool_proj."),
        (r"^(aux\d)\.conv\.", r"\1_conv."),
        (r"^(aux\d)\.fc1\.", r"\1_fc1."),
        (r"^(aux\d)\.fc2\.", r"logits_\1."),
        (r"^(aux\d)_conv\.bn\.", r"\1_bn."),
        (r"\.conv\.", "."),
        (r"\.bn\.", "_bn."),
        (r"^fc\.", "logits."),
    ),
    "resnet": (
        (r"^layer(\d)\.(\d+)\.", lambda m: f"stage{m[1]}_block{int(m[2]) + 1}_"),
        (r"_downsample\.0\.", "_shortcut."),
        (r"_downsample\.1\.", "_shortcut_bn."),
        (r"^(fc|linear)\.", "logits."),
    ),
    "densenet": (
        (r"^features\.", ""),
        (r"\.(norm|conv)\.(\d)\.", r".\1\2."),  # the names in checkpoints from before 2018
        (r"^denseblock(\d)\.denselayer(\d+)\.", r"block\1_layer\2_"),
        (r"^(transition\d)\.", r"\1_"),
        (r"^classifier\.", "logits."),
    ),
    "ssd300_vgg16": (
        (r"^backbone\.features\.(\d+)\.", lambda m: f"conv{_VGG16[m[1]]}."),
        (r"^backbone\.scale_weight$", "conv4_3_norm.scale"),
        (r"^backbone\.extra\.0\.([135])\.", lambda m: f"conv5_{int(m[1]) // 2 + 1}."),
        (r"^backbone\.extra\.0\.7\.([13])\.", lambda m: f"fc{int(m[1]) // 2 + 6}."),
        (r"^backbone\.extra\.(\d)\.([02])\.", lambda m: f"conv{int(m[1]) + 7}_{int(m[2]) // 2 + 1}."),
        (r"^head\.classification_head\.module_list\.(\d)\.", lambda m: f"class_head{int(m[1]) + 3}."),
        (r"^head\.regression_head\.module_list\.(\d)\.", lambda m: f"box_head{int(m[1]) + 3}."),
    ),
    "nanodet_g": ((r"^$", ""),),  # `read_nanodet_file` gives our names
    "efficientnet_lite": (
        (r"^_conv_stem\.", "stem_conv."),
        (r"^_bn0\.", "stem_bn."),
        (r"^_blocks\.(\d+)\._(expand|project)_conv\.", r"block\1_\2_conv."),
        (r"^_blocks\.(\d+)\._depthwise_conv\.", r"block\1_depthwise."),
        (r"^_blocks\.(\d+)\._bn0\.", r"block\1_expand_bn."),
        (r"^_blocks\.(\d+)\._bn1\.", r"block\1_depthwise_bn."),
        (r"^_blocks\.(\d+)\._bn2\.", r"block\1_project_bn."),
        (r"^_conv_head\.", "head_conv."),
        (r"^_bn1\.", "head_bn."),
        (r"^_fc\.", "logits."),
    ),
}
_RCNN = (  # torchvision's checkpoints and its present modules differ in ".0"
    (r"^backbone\.body\.", ""),
    *RULES["resnet"],
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.(0\.)?", lambda m: f"lateral{int(m[1]) + 2}."),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.(0\.)?", lambda m: f"pyramid{int(m[1]) + 2}."),
    (r"^rpn\.head\.conv\.(0\.0\.)?", "rpn_conv."),
    (r"^rpn\.head\.cls_logits\.", "rpn_logits."),
    (r"^rpn\.head\.bbox_pred\.", "rpn_deltas."),
    (r"^roi_heads\.box_head\.(fc[67])\.", r"\1."),
    (r"^roi_heads\.box_predictor\.cls_score\.", "box_logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", "box_deltas."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", r"mask_conv\1."),
    (r"^roi_heads\.mask_head\.(\d)\.0\.", lambda m: f"mask_conv{int(m[1]) + 1}."),
    (r"^roi_heads\.mask_predictor\.conv5_mask\.", "mask_deconv."),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits\.", "mask_logits."),
)
_FCN = (
    (r"^backbone\.", ""),
    *RULES["resnet"],
    (r"^(aux_)?classifier\.0\.", lambda m: "aux_head." if m[1] else "head3."),
    (r"^(aux_)?classifier\.1\.", lambda m: "aux_head_bn." if m[1] else "head3_bn."),
    (r"^(aux_)?classifier\.4\.", lambda m: "logits_aux." if m[1] else "logits."),
)
RULES |= {"fasterrcnn_resnet": _RCNN, "maskrcnn_resnet": _RCNN, "fcn_resnet": _FCN}
_VGG16 = dict(
    zip(
        ("0", "2", "5", "7", "10", "12", "14", "17", "19", "21"),
        ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"),
        strict=True,
    )
)
# Layers of detectors with a row, or four, for each class; True where background has one too.
_CLASS_ROWS = {"class_head": (1, True), "box_logits": (1, True), "box_deltas": (4, False), "mask_logits": (1, False)}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclass(frozen=True)
class Report:
    """What `load_weights` did, as names: `loaded` and `missing` are ours (layer.weight), `skipped` the file's.

    `new` are weights that depend on the classes, where the file has other classes than the model.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self):
        rows = (
            ("loaded", self.loaded, ""),
            ("skipped", self.skipped, "in the file, not in the model: "),
            ("missing", self.missing, "in the model, not in the file: "),
            ("new", self.new, "other classes than the file's: "),
        )
        return "\n".join(
            f"  {what:8}{len(names):6}  {note + few(names) if note and names else ''}".rstrip()
            for what, names, note in rows
        )


def assign(model: keras.Model, tensors: dict[str, np.ndarray], architecture: str) -> Report:
    """Puts what fits of a checkpoint of `architecture` into the layers of `model`, and says what did not."""
    layers = our_layers(model)
    weights = {f"{name}.{w.name}": w for name, layer in layers.items() for w in layer.weights}
    loaded, skipped, new = [], [], []
    names = our_names(tensors, architecture, layers)
    for name, array in tensors.items():
        layer_name, _, parameter = names[name].rpartition(".")
        if parameter == "num_batches_tracked":  # a counter that only torch keeps
            continue
        if layer_name not in layers:
            skipped.append(name)
            continue
        array = classes_last(array, layer_name, layers[layer_name], model)
        parameter, array = fit(array, parameter, layers[layer_name])
        ours = f"{layer_name}.{parameter}"
        if ours in weights and weights[ours].shape == array.shape:
            weights[ours].assign(array)
            loaded.append(ours)
        elif (
            ours in weights
            and layer_name.startswith(("logits", *_CLASS_ROWS))
            and weights[ours].shape[:-1] == array.shape[:-1]  # other classes, and not another head
        ):
            new.append(ours)
        else:
            skipped.append(f"{name} {list(array.shape)}")
    missing = [name for name in weights if name not in {*loaded, *new}]
    return Report(tuple(loaded), tuple(skipped), tuple(missing), tuple(new))


def family(architecture: str) -> str:
    """The key of `RULES` that `architecture` ("efficientnet_lite0") begins with.

    Raises:
        ValueError: no family fits.
    """
    for name in RULES:
        if architecture.startswith(name):
            return name
    raise ValueError(f"no rule converts torch weights of {architecture!r}; there are rules for {', '.join(RULES)}")


def our_names(tensors: dict[str, np.ndarray], architecture: str, layers: dict) -> dict[str, str]:
    """Our `layer.parameter` for each tensor's name in a checkpoint of `architecture`.

    AlexNet and VGG only number their modules: their k-th convolution is the k-th of `layers`, a norm follows its
    convolution, and there are three dense layers.
    """
    rules = RULES[family(architecture)]
    if not rules:
        rules = _numbered(tensors, layers)
    names = {}
    for name in tensors:
        names[name] = name
        for pattern, replacement in rules:
            names[name] = re.sub(pattern, replacement, names[name])
    return names


def _numbered(tensors, layers):
    """Rules for modules that are only numbered: "features.5." is the second convolution, "features.6." its norm."""
    convolutions = iter([name for name, layer in layers.items() if isinstance(layer, keras.layers.Conv2D)])
    dense = iter(("fc6", "fc7", "logits"))
    rules, layer = [], ""
    for name, array in tensors.items():
        module, _, parameter = name.rpartition(".")
        if parameter == "weight":
            if array.ndim == 4:
                layer = next(convolutions, "")
            elif array.ndim == 2:
                layer = next(dense, "")
            else:
                layer += "_bn"
            rules.append((f"^{re.escape(module)}\\.", f"{layer}."))
    return rules


def our_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Every layer with weights of `model` and of the models inside it, by name."""
    found = {}
    for layer in model.layers:
        found |= our_layers(layer) if isinstance(layer, keras.Model) else {layer.name: layer} if layer.weights else {}
    return found


def fit(array: np.ndarray, parameter: str, layer: keras.layers.Layer) -> tuple[str, np.ndarray]:
    """The weight of `layer` that torch calls `parameter`, and the array in its layout.

    Torch keeps kernels output first and channels before rows and columns. A dense layer behind a Flatten also
    has its rows in that order: C, H, W there, H, W, C here; a convolution may stand in for it (FCN's fc6).
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        return _NORM.get(parameter, parameter), array
    if parameter != "weight":
        return parameter, array
    if array.ndim == 4:
        if array.shape[1] == 3 and layer.kernel.shape[2] == 1 and not isinstance(layer, keras.layers.DepthwiseConv2D):
            array = array.sum(axis=1, keepdims=True)  # grey as three equal channels, but for `normalise_like`
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return "kernel", array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if isinstance(layer, keras.layers.Conv2D):
        rows, columns, channels, _ = layer.kernel.shape
        if array.shape[1] == channels * rows * columns:
            array = array.reshape(-1, channels, rows, columns).transpose(2, 3, 1, 0)
        return "kernel", array
    before = layer.input._keras_history.operation
    if isinstance(before, keras.layers.Flatten) and len(before.input.shape) == 4:
        height, width, channels = before.input.shape[1:]
        if array.shape[1] == height * width * channels:
            array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return "kernel", array.T


def classes_last(array: np.ndarray, name: str, layer: keras.layers.Layer, model: keras.Model) -> np.ndarray:
    """The rows of a torchvision detector's class layer in our order: class ids 0..K-1, then background.

    There background comes first, and COCO's 91 numbers include ten that no object has. Other layers stay as they are,
    and so does a layer for other classes than the model's.
    """
    kind = next((kind for kind in _CLASS_ROWS if name.startswith(kind)), None)
    if kind is None:
        return array
    values, background = _CLASS_ROWS[kind]
    classes = model.num_classes
    anchors = layer.bias.shape[0] // (values * (classes + background))  # a cell; 1 in a second stage
    theirs = array.shape[0] // (values * anchors)  # with background, also in a mask layer
    if theirs == 91 and classes == 80:  # a row for each number in COCO's files
        ids = [int(number) for number, _ in coco_classes()]
    elif theirs == classes + 1:
        ids = list(range(1, theirs))
    else:
        return array
    rows = array.reshape(anchors, theirs, values, *array.shape[1:])
    return rows[:, ids + [0] * background].reshape(-1, *array.shape[1:])


def few(names) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
