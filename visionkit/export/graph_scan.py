"""Looks through a SavedModel before TensorFlow loads it: such a file is a program, which could read and write any file.

Nothing is executed. Everything that can run must consist of the operations in `ALLOWED`, which compute and do nothing
else. A SavedModel also contains functions that save and restore its variables; TensorFlow does not run them when it
loads or uses a model, so they may contain the operations in `SAVERS` besides, as long as nothing else calls them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from visionkit.types import DataError, plain

_ALLOWED = """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert AvgPool BatchMatMul BatchMatMulV2 BatchToSpaceND BiasAdd Bitcast
    BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastTo Case Cast Ceil ClipByValue ConcatV2 Const Conv2D
    Conv2DBackpropInput Cos CropAndResize Cumprod Cumsum DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeRaw
    DepthToSpace DepthwiseConv2dNative Div DivNoNan Einsum Elu EmptyTensorList EncodePng EnsureShape Equal Erf Erfc
    Exp ExpandDims Expm1 ExtractJpegShape Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater
    GreaterEqual Identity IdentityN If Invert InvertPermutation IsFinite IsInf IsNan LRN LeakyRelu LeftShift Less
    LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean
    Min Minimum MirrorPad Mod Mul Neg NoOp NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot
    OnesLike Pack Pad PadV2 PartitionedCall Pow Prod Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape
    ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ReverseV2 RightShift Rint Roll Round Rsqrt ScatterNd
    Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth
    Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile
    StopGradient StridedSlice Sub Sum Tan Tanh TensorListElementShape TensorListFromTensor TensorListGetItem
    TensorListLength TensorListPushBack TensorListReserve TensorListSetItem TensorListStack TensorScatterUpdate Tile
    TopKV2 Transpose TruncateDiv Unpack UnsortedSegmentSum Where While ZerosLike
"""
_SAVERS = """
    AssignVariableOp DisableCopyOnRead MergeV2Checkpoints Placeholder RestoreV2 SaveV2 ShardedFilename
    StaticRegexFullMatch StringJoin VarHandleOp
"""
ALLOWED = frozenset(_ALLOWED.split())
SAVERS = frozenset(_SAVERS.split())
# The kinds of objects in the model. A captured tensor is one that another function computes; loading only looks it up.
KINDS = ("variable", "user_object", "bare_concrete_function", "function", "constant", "captured_tensor")


def check_graph(folder: Path | str) -> None:
    """Raises where a SavedModel contains anything but arithmetic, such as operations on files, the network or Python.

    Raises:
        DataError: it does, or is not one that `saved_model` could have written, or is broken.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    folder = Path(folder)
    others = [name for name in ("saved_model.pbtxt", "saved_model.cpb") if (folder / name).exists()]
    if others:  # TensorFlow could prefer it
        raise _untrusted(folder, f"holds {others[0]} beside or in place of saved_model.pb")
    try:
        model: Any = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())  # pyright: ignore
    except (OSError, DecodeError) as error:
        raise DataError(f"{folder}: broken SavedModel: {error}") from None
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].HasField("object_graph_def"):
        raise _untrusted(folder, "is in the format of TensorFlow 1, which runs its graph while it is loaded")
    (graph,) = model.meta_graphs
    for item in graph.object_graph_def.nodes:
        if (kind := item.WhichOneof("kind")) not in KINDS:
            raise _untrusted(folder, f"contains an object of the kind {kind}")
    _check_operations(folder, graph)


def _check_operations(folder: Path, graph: Any) -> None:
    library = graph.graph_def.library
    functions = {function.signature.name: function for function in library.function}
    running = _reachable(_roots(graph), functions)
    for function in library.function:
        name = function.signature.name
        if "api_implements" in function.attr:  # TensorFlow may call it in place of another function
            raise _untrusted(folder, f"has a function {name} that takes the place of others")
        _check_nodes(folder, function.node_def, functions, ALLOWED if name in running else ALLOWED | SAVERS)
    _check_nodes(folder, graph.graph_def.node, functions, ALLOWED | SAVERS)  # not run: only functions are


def _check_nodes(folder: Path, nodes: Iterable[Any], functions: Mapping[str, Any], allowed: frozenset[str]) -> None:
    for node in nodes:
        if node.op not in allowed and node.op not in functions:
            raise _untrusted(folder, f"contains the operation {node.op} ({node.name})")


def _roots(graph: Any) -> Iterator[str]:
    """The names of the functions that are called from outside, or whose tensors are used outside of them."""
    objects = graph.object_graph_def
    yield from objects.concrete_functions
    for item in objects.nodes:
        yield from item.function.concrete_functions
        yield item.bare_concrete_function.concrete_function_name
        yield item.captured_tensor.concrete_function
    for gradient in graph.graph_def.library.gradient:
        yield gradient.gradient_func


def _reachable(names: Iterable[str], functions: Mapping[str, Any]) -> set[str]:
    """The functions with these names, and those that they call, directly or not."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found.add(name)
            for node in functions[name].node_def:
                waiting.append(node.op)
                waiting.extend(_named_in(node.attr))
    return found


def _named_in(attributes: Mapping[str, Any]) -> Iterator[str]:
    """The functions that a node's attributes name."""
    for value in attributes.values():
        for function in (value.func, *value.list.func):
            yield function.name
            if function.attr:
                yield from _named_in(function.attr)


def _untrusted(folder: Path, reason: str) -> DataError:
    return DataError(
        plain(
            f"{folder}: a SavedModel is a program, and this one {reason}, which no export of visionkit does; if you "
            "trust it, add --trust"
        )
    )
