"""Converts the tensors of a torch checkpoint to the weights of our layers, by rules.

There are two steps. A torch name becomes `layer.parameter` in our names (`RULES`, one list of regular expressions per
family), and the array is brought into our layout, which depends on the layer: the kernels of a Dense and of a Conv2D
are laid out differently.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from visionkit.types import Tensor
from visionkit.weights.cards import coco_classes
from visionkit.weights.mobile_rules import AUXILIARY, DEEPLABV3, LRASPP, MOBILE, ON_MOBILENET, Rule, split_heads

RULES: dict[str, tuple[Rule, ...]] = {
    "alexnet": (),  # its modules are only numbered, see `our_names`
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
    "nanodet_g": ((r"^$", ""),),  # changes nothing: `read_nanodet_file` returns our names
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


_ON_RESNET: tuple[Rule, ...] = ((r"^backbone\.(body\.)?", ""), *RULES["resnet"])


def _pyramid(*levels: str) -> tuple[Rule, ...]:
    """The rules of a feature pyramid, whose levels are given as "2" for P2, the finest first."""
    return (  # torchvision's checkpoints and its present modules differ in ".0"
        (r"^backbone\.fpn\.inner_blocks\.(\d)\.1\.", lambda m: f"lateral{levels[int(m[1])]}_bn."),
        (r"^backbone\.fpn\.layer_blocks\.(\d)\.1\.", lambda m: f"pyramid{levels[int(m[1])]}_bn."),
        (r"^backbone\.fpn\.inner_blocks\.(\d)\.(0\.)?", lambda m: f"lateral{levels[int(m[1])]}."),
        (r"^backbone\.fpn\.layer_blocks\.(\d)\.(0\.)?", lambda m: f"pyramid{levels[int(m[1])]}."),
        (r"^backbone\.fpn\.extra_blocks\.p(\d)\.", r"extra\1."),
    )


_REGIONS: tuple[Rule, ...] = (  # both stages of an R-CNN
    (r"^rpn\.head\.conv\.1\.0\.", "rpn_conv2."),
    (r"^rpn\.head\.conv\.(0\.0\.)?", "rpn_conv."),
    (r"^rpn\.head\.cls_logits\.", "rpn_logits."),
    (r"^rpn\.head\.bbox_pred\.", "rpn_deltas."),
    (r"^roi_heads\.box_head\.(fc[67])\.", r"\1."),
    (r"^roi_heads\.box_head\.(\d)\.0\.", lambda m: f"box_conv{int(m[1]) + 1}."),
    (r"^roi_heads\.box_head\.(\d)\.1\.", lambda m: f"box_conv{int(m[1]) + 1}_bn."),
    (r"^roi_heads\.box_head\.5\.", "fc6."),
    (r"^roi_heads\.box_predictor\.cls_score\.", "box_logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", "box_deltas."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", r"mask_conv\1."),
    (r"^roi_heads\.mask_head\.(\d)\.0\.", lambda m: f"mask_conv{int(m[1]) + 1}."),
    (r"^roi_heads\.mask_head\.(\d)\.1\.", lambda m: f"mask_conv{int(m[1]) + 1}_bn."),
    (r"^roi_heads\.mask_predictor\.conv5_mask\.", "mask_deconv."),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits\.", "mask_logits."),
    (r"^roi_heads\.keypoint_head\.(\d+)\.", lambda m: f"keypoint_conv{int(m[1]) // 2 + 1}."),
    (r"^roi_heads\.keypoint_predictor\.kps_score_lowres\.", "keypoint_deconv."),
)
_RCNN: tuple[Rule, ...] = (*_pyramid(*"2345"), *_ON_RESNET, *_REGIONS)
_RETINANET: tuple[Rule, ...] = (
    *_pyramid(*"345"),
    *_ON_RESNET,
    (r"^head\.classification_head\.", "class_"),
    (r"^head\.regression_head\.", "box_"),
    (r"_conv\.(\d)\.0\.", lambda m: f"_conv{int(m[1]) + 1}."),
    (r"_conv\.(\d)\.1\.", lambda m: f"_conv{int(m[1]) + 1}_norm."),
    (r"_conv\.(\d)\.(weight|bias)$", lambda m: f"_conv{int(m[1]) // 2 + 1}.{m[2]}"),  # its first checkpoint: 0, 2, ...
    (r"^class_cls_logits\.", "class_logits."),
    (r"^box_bbox_reg\.", "box_regression."),
)
_FCOS: tuple[Rule, ...] = (
    *_pyramid(*"345"),
    *_ON_RESNET,
    (r"^head\.classification_head\.", "class_"),
    (r"^head\.regression_head\.", "box_"),
    # convolution, norm and ReLU in turn
    (r"_conv\.(\d+)\.", lambda m: f"_conv{int(m[1]) // 3 + 1}{'_norm' if int(m[1]) % 3 else ''}."),
    (r"^class_cls_logits\.", "class_logits."),
    (r"^box_bbox_reg\.", "box_regression."),
    (r"^box_bbox_ctrness\.", "centerness."),
)
_SSD_RESNET: tuple[Rule, ...] = (  # torchvision's SSD class on a ResNet
    *_ON_RESNET,
    (r"^head\.classification_head\.module_list\.(\d)\.", lambda m: f"class_head{int(m[1]) + 3}."),
    (r"^head\.regression_head\.module_list\.(\d)\.", lambda m: f"box_head{int(m[1]) + 3}."),
)
_FCN: tuple[Rule, ...] = (
    (r"^classifier\.0\.", "head3."),
    (r"^classifier\.1\.", "head3_bn."),
    (r"^classifier\.4\.", "logits."),
)
_UNET: tuple[Rule, ...] = (  # of segmentation-models-pytorch
    (r"^encoder\.", "backbone."),
    *_ON_RESNET,
    (r"^decoder\.blocks\.(\d)\.", lambda m: f"up{4 - int(m[1])}_"),
    (r"_conv(\d)\.0\.", r"_conv\1."),
    (r"_conv(\d)\.1\.", r"_conv\1_bn."),
    (r"^segmentation_head\.0\.", "logits."),
)
RULES |= {
    "fasterrcnn_resnet": _RCNN,
    "fasterrcnn_mobilenet_v3": (*_pyramid("5", "5b"), *_REGIONS, *ON_MOBILENET),
    "maskrcnn_resnet": _RCNN,
    "keypointrcnn_resnet": _RCNN,
    "retinanet_resnet": _RETINANET,
    "fcos_resnet": _FCOS,
    "ssd_resnet": _SSD_RESNET,
    "ssdlite_resnet": (*split_heads(3), *_ON_RESNET),
    "fcn_resnet": (*_FCN, *AUXILIARY, *_ON_RESNET),
    "deeplabv3_resnet": (*DEEPLABV3, *AUXILIARY, *_ON_RESNET),
    "lraspp_resnet": (*LRASPP, *_ON_RESNET),
    "unet_resnet": _UNET,
    **MOBILE,
}
_VGG16 = {  # module number -> our convolution
    **{"0": "1_1", "2": "1_2", "5": "2_1", "7": "2_2"},
    **{"10": "3_1", "12": "3_2", "14": "3_3", "17": "4_1", "19": "4_2", "21": "4_3"},
}
# Layers of detectors that depend on the classes: values per class, and whether background is one of the classes.
_CLASS_ROWS = {
    "class_head": (1, True),
    "class_logits": (1, False),
    "box_logits": (1, True),
    "box_deltas": (4, False),
    "mask_logits": (1, False),
}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclass(frozen=True)
class Report:
    """What `load_weights` did, as names of weights.

    Args:
        loaded: ours (layer.weight), taken from the file.
        skipped: the file's, with no counterpart in the model.
        missing: ours, not in the file.
        new: ours, which depend on the classes and keep their initial values because the file has other classes.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
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
    """Assigns what fits of a checkpoint of `architecture` to the layers of `model`, and reports what did not fit."""
    layers = our_layers(model)
    weights = {f"{name}.{w.name}": w for name, layer in layers.items() for w in layer.weights}
    loaded: list[str] = []
    skipped: list[str] = []
    new: list[str] = []
    names = our_names(tensors, architecture, layers)
    for name, array in tensors.items():
        layer_name, _, parameter = names[name].rpartition(".")
        if parameter == "num_batches_tracked":  # a counter that only torch has
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
            and weights[ours].shape[:-1] == array.shape[:-1]  # so the head is the same and only the classes differ
        ):
            new.append(ours)
        else:
            skipped.append(f"{name} {list(array.shape)}")
    missing = [name for name in weights if name not in {*loaded, *new}]
    return Report(tuple(loaded), tuple(skipped), tuple(missing), tuple(new))


def family(architecture: str) -> str:
    """The key of `RULES` that `architecture`, for example "efficientnet_lite0", begins with.

    Raises:
        ValueError: no family fits.
    """
    for name in RULES:
        if architecture.startswith(name):
            return name
    raise ValueError(f"no rule converts torch weights of {architecture!r}; there are rules for {', '.join(RULES)}")


def our_names(
    tensors: dict[str, np.ndarray], architecture: str, layers: dict[str, keras.layers.Layer]
) -> dict[str, str]:
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


def _numbered(tensors: dict[str, np.ndarray], layers: dict[str, keras.layers.Layer]) -> tuple[Rule, ...]:
    """Rules for modules that are only numbered: "features.5." is the second convolution, "features.6." its norm."""
    convolutions = iter([name for name, layer in layers.items() if isinstance(layer, keras.layers.Conv2D)])
    dense = iter(("fc6", "fc7", "logits"))
    rules: list[Rule] = []
    layer = ""
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
    return tuple(rules)


def our_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Every layer with weights in `model` and in the models inside it, by name."""
    layers: dict[str, keras.layers.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers.update(our_layers(layer))
        elif layer.weights:
            layers[layer.name] = layer
    return layers


def fit(array: np.ndarray, parameter: str, layer: Any) -> tuple[str, np.ndarray]:
    """The name of the weight of `layer` that torch calls `parameter`, and the array in our layout.

    Torch stores kernels with outputs first, and channels before rows and columns. The rows of a dense layer after a
    Flatten are in that order too: C, H, W there, but H, W, C here. A convolution may take its place (FCN's fc6).
    """
    norms = keras.layers.BatchNormalization | keras.layers.LayerNormalization | keras.layers.GroupNormalization
    if isinstance(layer, norms):
        return _NORM.get(parameter, parameter), array
    if parameter != "weight":
        return parameter, array.reshape(-1) if parameter == "scale" else array  # torch's may be [C, 1, 1]
    if array.ndim == 4:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if array.shape[1] == 3 and layer.kernel.shape[2] == 1 and not depthwise:
            # The sum treats grey as three equal channels; only the normalisation differs, see `normalise_like`.
            array = array.sum(axis=1, keepdims=True)
        return "kernel", array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if isinstance(layer, keras.layers.Conv2D):
        rows, columns, channels, _ = layer.kernel.shape
        if array.shape[1] == channels * rows * columns:
            array = array.reshape(-1, channels, rows, columns).transpose(2, 3, 1, 0)
        return "kernel", array
    before = layer.input._keras_history.operation
    flattened: Tensor = before.input if isinstance(before, keras.layers.Flatten) else None
    if flattened is not None and len(flattened.shape) == 4:
        height, width, channels = flattened.shape[1:]
        if array.shape[1] == height * width * channels:
            array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return "kernel", array.T


def classes_last(array: np.ndarray, name: str, layer: Any, model: Any) -> np.ndarray:
    """The rows of a torchvision detector's class layer in our order: class ids 0..K-1, then background.

    In torchvision background comes first, and ten of COCO's 91 numbers are unused. Other layers are returned unchanged,
    and so is a layer for other classes than the model's.
    """
    kind = next((kind for kind in _CLASS_ROWS if name.startswith(kind)), None)
    if kind is None:
        return array
    values, background = _CLASS_ROWS[kind]
    classes = model.num_classes
    anchors = layer.bias.shape[0] // (values * (classes + background))  # per cell; 1 in a second stage
    theirs = array.shape[0] // (values * anchors)  # classes in the file, with background even in a mask layer
    if theirs == 91 and classes == 80:  # one row for each number in COCO's files
        ids = [int(number) for number, _ in coco_classes()]
    elif theirs == classes + 1:
        ids = list(range(1, theirs))
    else:
        return array
    rows = array.reshape(anchors, theirs, values, *array.shape[1:])
    if background:
        ids.append(0)
    return rows[:, ids].reshape(-1, *array.shape[1:])


def few(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
