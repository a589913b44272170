"""A new model of the layers of another, with the channels that are kept and the constants in its biases."""

import tempfile

import keras
import numpy as np
from keras import layers, ops, tree

from keras_dsr.backend.keras_graph import Call, Graph, made_by
from keras_dsr.backend.keras_layers import walk
from keras_dsr.shrinking.analysis import Analysis, Network
from keras_dsr.shrinking.channel_rules import Barrier, Channelwise, Join, Linear, Step


def rebuild(model, graph: Graph, network: Network, analysis: Analysis) -> tuple[keras.Model, list]:
    """A functional model that computes what a model does, of new layers.

    Args:
        model: the functional model.
        graph, network, analysis: of this model.

    Returns:
        The new model, and the new layer of each call of the graph; None where the call is not needed any more.
    """
    inputs = tree.map_structure(_new_input, model.input)
    made = dict(zip(graph.inputs, tree.flatten(inputs)))
    new_layers, by_layer = [], {}
    for call, step, dropped in zip(graph.calls, network.steps, analysis.dropped):
        if not any(analysis.reached[index] for index in call.outputs):
            new_layers.append(None)
            continue
        if id(call.layer) not in by_layer:
            by_layer[id(call.layer)] = _new_layer(call, step, analysis, dropped)
        layer = by_layer[id(call.layer)]
        if dropped:
            left = [made[index] for operand, index in enumerate(step.inputs) if operand not in dropped]
            results = layer(left[0] if isinstance(layer, layers.Identity) else left)
        else:
            of_node = {id(tensor): made[index] for tensor, index in zip(call.node.input_tensors, call.inputs)}
            arguments, keywords = call.node.arguments.fill_in(of_node)
            results = layer(*arguments, **keywords)
        made.update(zip(call.outputs, tree.flatten(results)))
        if weights := getattr(call.layer, "weights", None):
            layer.set_weights(_weights([ops.convert_to_numpy(one) for one in weights], call.layer, step, analysis))
        if isinstance(step, Barrier) and isinstance(layer, keras.layers.Layer):
            _copy_learned(call.layer, layer)
        new_layers.append(layer)
    outputs = tree.pack_sequence_as(model.output, [made[index] for index in graph.outputs])
    return keras.Model(inputs, outputs, name=model.name), new_layers


def _new_input(tensor):
    name = made_by(tensor).name
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=name)


def _new_layer(call: Call, step: Step, analysis: Analysis, dropped: frozenset[int]):
    """A layer like that of a call, for the channels that are kept, without weights so far."""
    layer = call.layer
    if dropped and isinstance(step, Join) and len(step.inputs) - len(dropped) == 1:
        return layers.Identity(name=call.name, dtype=_policy_name(call))  # a policy itself would not be saved
    if not isinstance(layer, keras.layers.Layer):
        return _from_config(layer, layer.get_config())
    config = {**layer.get_config(), "name": call.name}
    size = int(analysis.kept[step.outputs[0]].sum())
    if isinstance(step, Linear):
        config["units" if isinstance(layer, layers.Dense) else "filters"] = size
        config["use_bias"] = layer.use_bias or bool(folded_bias(step, analysis).any())
    elif isinstance(layer, layers.Reshape) and not isinstance(step, Barrier):
        config["target_shape"] = (*layer.target_shape[:-1], size)
    return _from_config(layer, config)


def _policy_name(call: Call) -> str:
    policy = getattr(call.layer, "dtype_policy", None)
    return call.node.outputs[0].dtype if policy is None else policy.name


def _from_config(layer, config: dict):
    # The code of a Lambda runs in this process already.
    arguments = {"safe_mode": False} if isinstance(layer, layers.Lambda) else {}
    try:
        return type(layer).from_config(config, **arguments)
    except Exception as error:
        raise ValueError(
            f"shrink(model) makes every layer anew from its configuration, which failed for {layer.name!r}, of the "
            f"class {type(layer).__name__}. Give it a `get_config` that returns the arguments of its constructor. "
            f"Keras's error: {error}"
        ) from error


def _copy_learned(layer, new_layer) -> None:
    """What preprocessing layers keep beside weights: vocabularies, and what they work out when they are loaded."""
    for (source, _), (target, _) in zip(walk(layer), walk(new_layer)):
        store = {}
        source.save_own_variables(store)
        target.load_own_variables(store)
        if hasattr(source, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                source.save_assets(folder)
                target.load_assets(folder)


def folded_bias(step: Linear, analysis: Analysis) -> np.ndarray:
    """What the constants that are removed from the input of a layer add to its outputs: float64, `(outputs,)`."""
    (source,), (target,) = step.inputs, step.outputs
    values = analysis.constants[source]
    gone = step.folded(values) & ~analysis.kept[source]
    added = np.where(gone, values, 0) @ np.where(step.connected, step.sums, 0)
    return np.where(analysis.wanted[target], added, 0)[analysis.kept[target]]


def _weights(weights: list[np.ndarray], layer, step: Step, analysis: Analysis) -> list[np.ndarray]:
    """The weights of a layer, for the channels that are kept."""
    if isinstance(step, Linear):
        source, target = analysis.kept[step.inputs[0]], analysis.kept[step.outputs[0]]
        kernel, added = weights[0][..., source, :][..., target], folded_bias(step, analysis)
        if layer.use_bias:
            return [kernel, (weights[1][target] + added).astype(kernel.dtype)]
        return [kernel, added.astype(kernel.dtype)] if added.any() else [kernel]
    if isinstance(step, Channelwise):
        kept = analysis.kept[step.outputs[0]]
        depthwise = isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D)
        return [one[..., kept, :] if depthwise and index == 0 else one[kept] for index, one in enumerate(weights)]
    return weights
