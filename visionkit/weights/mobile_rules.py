"""Rules for `convert.RULES`: the torch weights of MobileNet, ConvNeXt, and of what is built on MobileNetV3."""

import re
from collections.abc import Callable
from typing import TypeAlias

Rule: TypeAlias = tuple[str, str | Callable[[re.Match[str]], str]]  # a pattern and its replacement, as for `re.sub`

_CONV_BN = {"0": "_conv.", "1": "_bn."}  # of a module whose parts are numbered
_PLAIN_BN = {"0": ".", "1": "_bn."}
_CONVNEXT = {"0": "depthwise", "2": "norm", "3": "expand", "5": "project"}
MOBILE: dict[str, tuple[Rule, ...]] = {
    "mobilenet_v2": (
        (r"^features\.(0|18)\.([01])\.", lambda m: ("stem" if m[1] == "0" else "last") + _CONV_BN[m[2]]),
        (r"^features\.1\.conv\.0\.([01])\.", lambda m: "block1_depthwise" + _PLAIN_BN[m[1]]),
        (r"^features\.1\.conv\.([12])\.", lambda m: "block1_project" + _CONV_BN[str(int(m[1]) - 1)]),
        (r"^features\.(\d+)\.conv\.0\.([01])\.", lambda m: f"block{m[1]}_expand{_CONV_BN[m[2]]}"),
        (r"^features\.(\d+)\.conv\.1\.([01])\.", lambda m: f"block{m[1]}_depthwise{_PLAIN_BN[m[2]]}"),
        (r"^features\.(\d+)\.conv\.([23])\.", lambda m: f"block{m[1]}_project{_CONV_BN[str(int(m[2]) - 2)]}"),
        (r"^classifier\.1\.", "logits."),
    ),
    "mobilenet_v3": (
        (r"^features\.(\d+)\.([01])\.", lambda m: ("stem" if m[1] == "0" else "last") + _CONV_BN[m[2]]),
        (r"^features\.(\d+)\.block\.\d\.(fc[12])\.", r"block\1_squeeze_\2."),
        # The first block does not expand: its modules are one earlier.
        (r"^features\.1\.block\.(\d)\.", lambda m: f"features.1.block.{int(m[1]) + 1}."),
        (r"^features\.(\d+)\.block\.0\.([01])\.", lambda m: f"block{m[1]}_expand{_CONV_BN[m[2]]}"),
        (r"^features\.(\d+)\.block\.1\.([01])\.", lambda m: f"block{m[1]}_depthwise{_PLAIN_BN[m[2]]}"),
        (r"^features\.(\d+)\.block\.[23]\.([01])\.", lambda m: f"block{m[1]}_project{_CONV_BN[m[2]]}"),
        (r"^classifier\.0\.", "head_fc."),
        (r"^classifier\.3\.", "logits."),
    ),
    "convnext": (
        (r"^features\.0\.([01])\.", lambda m: ("stem_conv.", "stem_norm.")[int(m[1])]),
        (r"^features\.([246])\.0\.", lambda m: f"down{int(m[1]) // 2 + 1}_norm."),
        (r"^features\.([246])\.1\.", lambda m: f"down{int(m[1]) // 2 + 1}_conv."),
        (r"^features\.([1357])\.(\d+)\.", lambda m: f"stage{int(m[1]) // 2 + 1}_block{int(m[2]) + 1}_"),
        (r"_layer_scale$", "_scale.scale"),
        (r"_block\.([0235])\.", lambda m: f"_{_CONVNEXT[m[1]]}."),
        (r"^classifier\.0\.", "head_norm."),
        (r"^classifier\.2\.", "logits."),
    ),
}
AUXILIARY: tuple[Rule, ...] = (  # the auxiliary head of a segmenter
    (r"^aux_classifier\.0\.", "aux_head."),
    (r"^aux_classifier\.1\.", "aux_head_bn."),
    (r"^aux_classifier\.4\.", "logits_aux."),
)
DEEPLABV3: tuple[Rule, ...] = (
    (r"^classifier\.0\.convs\.4\.([12])\.", lambda m: ("aspp_image.", "aspp_image_bn.")[int(m[1]) - 1]),
    (r"^classifier\.0\.convs\.(\d)\.([01])\.", lambda m: f"aspp{m[1]}{_PLAIN_BN[m[2]]}"),
    (r"^classifier\.0\.project\.([01])\.", lambda m: f"aspp_project{_PLAIN_BN[m[1]]}"),
    (r"^classifier\.1\.", "head."),
    (r"^classifier\.2\.", "head_bn."),
    (r"^classifier\.4\.", "logits."),
)
_LRASPP: tuple[Rule, ...] = (
    (r"^classifier\.cbr\.([01])\.", lambda m: f"head{_PLAIN_BN[m[1]]}"),
    (r"^classifier\.scale\.1\.", "factors."),
    (r"^classifier\.(low|high)_classifier\.", r"logits_\1."),
)
_SSDLITE: tuple[Rule, ...] = (
    (r"^head\.(classification|regression)_head\.module_list\.(\d)\.", lambda m: f"{_KIND[m[1]]}{int(m[2]) + 4}."),
    (r"^(class|box)_head(\d)\.0\.0\.", r"\1_depthwise\2."),
    (r"^(class|box)_head(\d)\.0\.1\.", r"\1_depthwise\2_bn."),
    (r"^(class|box)_head(\d)\.1\.", r"\1_head\2."),
    (r"^backbone\.extra\.(\d)\.0\.([01])\.", lambda m: f"extra{int(m[1]) + 6}_reduce{_CONV_BN[m[2]]}"),
    (r"^backbone\.extra\.(\d)\.1\.([01])\.", lambda m: f"extra{int(m[1]) + 6}_depthwise{_PLAIN_BN[m[2]]}"),
    (r"^backbone\.extra\.(\d)\.2\.([01])\.", lambda m: f"extra{int(m[1]) + 6}_expand{_CONV_BN[m[2]]}"),
    # The network is cut in two behind the expansion of its block 13.
    (r"^backbone\.features\.0\.13\.", "features.13.block.0."),
    (r"^backbone\.features\.0\.", "features."),
    (r"^backbone\.features\.1\.0\.", "features.13.block."),
    (r"^backbone\.features\.1\.(\d)\.", lambda m: f"features.{int(m[1]) + 13}."),
    *MOBILE["mobilenet_v3"],
)
_KIND = {"classification": "class_head", "regression": "box_head"}
ON_MOBILENET: tuple[Rule, ...] = ((r"^backbone\.(body\.)?", "features."), *MOBILE["mobilenet_v3"])
MOBILE |= {
    "ssdlite320_mobilenet_v3": _SSDLITE,
    "deeplabv3_mobilenet_v3": (*DEEPLABV3, *AUXILIARY, *ON_MOBILENET),
    "lraspp_mobilenet_v3": (*_LRASPP, *ON_MOBILENET),
}
