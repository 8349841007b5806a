"""`python -m drivewam_export.onnx_graphs.export --config configs/model/tiny.yaml --checkpoint DIR|random:SEED --out engines/tiny`

Exports graphs to a folder written aside and renamed, checks each in ONNX Runtime against PyTorch on the inputs of the self-test, and writes
`manifest.yaml` last. `--precision f16|bf16` stores weights and cache in half (precision.py); `--attention textbook` writes attention as TensorRT
fuses it (graphs.py); `--graphs` and `--layers` export a part. Also `--checkpoint lingbot:PATH` and `wan:PATH` for weights under other names
(checkpoint.py), with `--beside DIR` and, for a codec, `--vae DIR`.

In memory stands one copy of the model, in f32, until the answers of the self-test are known; what is written passes through one tensor at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
import yaml

from .. import self_test
from ..checkpoint import CheckpointError, Names
from ..config import ModelConfig, load
from ..folder import Checkpoint, ExportError, Mapping, open_checkpoint, sha256, written_aside
from ..wan_vae import WanEncoder, encoder_graphs, open_vae
from . import weights
from .graphs import ATTENTIONS, NAMES, Graph, belongs, codec_graphs, policy_graphs
from .precision import BF16, F32, PRECISIONS, Precision, emulated, lower, possible

OPSET = 18
ROLES = {"commands.safetensors": "commands", self_test.FILE: "self_test"}


def trace(graph: Graph, path: Path) -> onnx.ModelProto:
    """The graph as a model with named inputs, outputs and axes. Its weights are initializers without data, so that no size is too large; buffers
    that no checkpoint holds stand inline."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module, tuple(graph.inputs.values()), str(path), dynamo=False, opset_version=OPSET, do_constant_folding=False,
            input_names=list(graph.inputs), output_names=graph.outputs, dynamic_axes=graph.dynamic, export_params=False,
        )
    model, kept, buffers = onnx.load(path), graph.module.state_dict(), dict(graph.module.named_buffers())
    for value in [v for v in model.graph.input if v.name not in graph.inputs]:
        kind = value.type.tensor_type
        tensor = onnx.TensorProto(name=value.name, data_type=kind.elem_type, dims=[d.dim_value for d in kind.shape.dim])
        if value.name not in kept:
            tensor.raw_data = buffers[value.name].numpy().tobytes()
        model.graph.initializer.append(tensor)
        model.graph.input.remove(value)
    return model


def table(values: dict[str, list], graph: Graph, precision: Precision) -> list[dict]:
    """Border tensors for the manifest: name to shape, whose dynamic axes become letters."""
    rows = []
    for name, shape in values.items():
        axes = graph.dynamic.get(name, {})
        rows.append({"name": name, "dtype": precision.border(name).name, "shape": [axes.get(i, n) for i, n in enumerate(shape)]})
    return rows


def reference(graph: Graph, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs of the f32 model in PyTorch."""
    with torch.no_grad():
        values = graph.module(*inputs.values())
    return dict(zip(graph.outputs, values if isinstance(values, tuple) else (values,)))


def session(path: Path, precision: Precision) -> onnxruntime.InferenceSession:
    """`path` on one thread. In half precision ONNX Runtime converts weights while it runs, tensor by tensor, and keeps no second copy; bf16, which it
    cannot multiply on a CPU, is emulated."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if precision is not F32:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if precision is not BF16:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    model = emulated(onnx.load(path, load_external_data=False))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def verify(graph: Graph, path: Path, precision: Precision, inputs: dict, wanted: dict) -> float:
    """Largest difference of ONNX Runtime to PyTorch over the shapes of the self-test (self_test.difference)."""
    onnx.checker.check_model(str(path), full_check=True)
    runtime, worst, where = session(path, precision), 0.0, ""
    kinds = {value.name: torch.float16 if value.type == "tensor(float16)" else torch.float32 for value in runtime.get_inputs()}
    for case in inputs:
        got = runtime.run(graph.outputs, {name: value.to(kinds[name]).numpy() for name, value in inputs[case].items() if name in kinds})
        for name, value in zip(graph.outputs, got):
            differs = self_test.difference(torch.from_numpy(value), wanted[case][name])
            if not differs <= worst:
                worst, where = differs, f"{case}/{name}"
    if not worst <= precision.limit:
        raise ExportError(f"{graph.name}: {where}: ONNX Runtime differs from PyTorch by {worst:.1e} of the root mean square (wanted at most {precision.limit:.0e})")
    return worst


def write_weights(out: Path, readers: list[Graph], traced: dict, precisions: dict[str, Precision], state: dict[str, torch.Tensor]) -> None:
    """Writes the weight file of `readers`, and points their graphs into it."""
    file, kinds = readers[0].weights, list({precisions[g.name].name: precisions[g.name] for g in readers}.values())
    if len(kinds) > 1:
        raise ExportError(f"{file}: is read in {' and in '.join(kind.name for kind in kinds)}")
    # By ownership, not by use: the tracer merges equal tensors, and a folder must be a whole checkpoint.
    places = weights.write(out / file, {name: value for name, value in state.items() if belongs(name, file)}, kinds[0].stored)
    for graph in readers:
        weights.point_into(traced[graph.name], file, places, graph.prefix)


def export_graphs(graphs: list[Graph], states: dict[str, dict[str, torch.Tensor]], config: ModelConfig, out: Path, wanted: Precision) -> tuple[dict, dict]:
    """Writes the graphs and the weight files that they read. Returns the manifest's `graphs:` section and the tensors of the self-test.

    `states`: per prefix ("model.", "codec.") the state dict. A weight file holds the union of what its graphs read. `states` and the graphs' modules
    are let go before ONNX Runtime loads what was written.
    """
    traced, precisions, inputs, outputs, entries, answers = {}, {}, {}, {}, {}, {}
    for graph in graphs:
        print(f"tracing {graph.name}", file=sys.stderr, flush=True)
        traced[graph.name] = trace(graph, out / f"{graph.name}.onnx")
        precisions[graph.name] = possible(traced[graph.name], wanted)
        if wanted is not F32:
            lower(traced[graph.name], precisions[graph.name], graph.prefix)
    for file in dict.fromkeys(g.weights for g in graphs):
        readers = [g for g in graphs if g.weights == file]
        write_weights(out, readers, traced, precisions, states[readers[0].prefix])
    for graph in graphs:
        traced[graph.name].producer_name, traced[graph.name].producer_version = "drivewam-export", ""
        (out / f"{graph.name}.onnx").write_bytes(traced[graph.name].SerializeToString(deterministic=True))
        inputs[graph.name] = self_test.inputs(graph, config, precisions[graph.name])
        outputs[graph.name] = {case: reference(graph, values) for case, values in inputs[graph.name].items()}
        for case, values in outputs[graph.name].items():
            answers |= self_test.answer(graph.name, case, values)
    for graph in graphs:
        graph.module = None
    states.clear()
    for graph in graphs:
        precision, path, answered = precisions[graph.name], out / f"{graph.name}.onnx", outputs[graph.name]
        worst = verify(graph, path, precision, inputs[graph.name], answered)
        how = {"f32": "f32", "f16": "f16", "bf16": "bf16, its products emulated,"}[precision.name]
        asked = "" if precision is wanted else f" ({wanted.name} was asked for: no ONNX operator set up to 20 has its convolutions)"
        print(f"{graph.name}: ONNX Runtime in {how} equals PyTorch in f32 to {worst:.1e}{asked}", file=sys.stderr, flush=True)
        entry = {"file": path.name, "weights": [graph.weights], "opset": OPSET, "precision": precision.name, "tolerance": precision.tolerance}
        if graph.attention:
            entry["attention"] = graph.attention
        ins = {value.name: list(graph.inputs[value.name].shape) for value in traced[graph.name].graph.input}
        outs = {name: list(value.shape) for name, value in next(iter(answered.values())).items()}
        entries[graph.name] = entry | {"inputs": table(ins, graph, precision), "outputs": table(outs, graph, precision)}
    return entries, answers


def vouch(folder: Path) -> dict:
    """The manifest's `files:` section: role, hash and length of every file of the folder."""
    entries = {}
    for path in sorted(folder.iterdir()):
        role = "graph" if path.suffix == ".onnx" else "tokenizer" if path.suffix == ".json" else ROLES.get(path.name, "weights")
        entries[path.name] = {"role": role, "sha256": sha256(path), "bytes": path.stat().st_size}
    return entries


def write_folder(source: Checkpoint, out: Path, target: str, graphs: list[Graph], states: dict, precision: Precision = F32) -> None:
    """Writes the graphs, the commands' text rows, the self-test and the manifest to a folder aside, then renames it to `out`. Of `source` the weights
    are not read: `states` has them. `graphs` and `states` are used up (export_graphs)."""
    config = source.config
    with written_aside(out) as aside:
        entries, answers = export_graphs(graphs, states, config, aside, precision)
        weights.write(aside / "commands.safetensors", source.rows)
        weights.write(aside / self_test.FILE, answers)
        manifest = {
            "schema": 2, "name": config.name, "target": target, "flow_direction": "tau_1_is_noise", "model": config.to_dict(),
            "normalisation": source.normalisation, "schedule": source.schedule,
            "commands": {"file": "commands.safetensors", "rows": {k: v.shape[0] for k, v in source.rows.items()}},
            "self_test": {"file": self_test.FILE}, "graphs": entries, "files": vouch(aside), "training": source.record,
        }
        (aside / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, width=160, default_flow_style=None))
    print(f"{out}: {len(entries)} graphs, {sum(p.stat().st_size for p in out.iterdir()) / 1e6:.1f} MB", file=sys.stderr)


def cut(config: ModelConfig, layers: int, checkpoint: str) -> ModelConfig:
    """`config` with its first `layers` layers, which only random weights can follow."""
    if not checkpoint.startswith("random:"):
        raise ExportError(f"--layers {layers}: {checkpoint} has the weights of {config.layers} layers; wanted random:SEED")
    if not 1 <= layers <= config.layers:
        raise ExportError(f"--layers {layers}: wanted 1 to {config.layers}")
    return dataclasses.replace(config, layers=layers)


def gather(
    checkpoint: str, config: ModelConfig, mapping: Mapping, vae: str | None, with_codec: bool, attention: str = ATTENTIONS[0],
) -> tuple[Checkpoint, list[Graph], dict]:
    """The checkpoint without its weights, all its graphs, and the state dicts that hold the weights."""
    source = open_checkpoint(checkpoint, config, mapping, with_codec)
    graphs, states = [], {"model.": source.model.state_dict()}
    if source.codec is not None and vae is not None:
        raise ExportError(f"{checkpoint}: has a codec of its own, got --vae {vae}")
    if source.codec is not None:
        graphs, states["codec."] = codec_graphs(source.codec), source.codec.state_dict()
    elif vae is not None:
        codec = WanEncoder(open_vae(vae)).eval()
        graphs, states["codec."] = encoder_graphs(codec, config), codec.state_dict()
    graphs += policy_graphs(source.model, attention)
    return dataclasses.replace(source, model=None, codec=None), graphs, states


def export(
    config: ModelConfig, checkpoint: str, out: Path, target: str | None = None, mapping: Mapping = Mapping(), vae: str | None = None,
    precision: Precision = F32, layers: int | None = None, only: list[str] | None = None, attention: str = ATTENTIONS[0],
) -> None:
    """`only`: names of the graphs to export; all that the checkpoint has without it. `target`: portable-PRECISION without it."""
    torch.set_num_threads(1)
    unknown = [name for name in only or [] if name not in NAMES]
    if unknown:
        raise ExportError(f"--graphs: got {', '.join(unknown)}; wanted some of {', '.join(NAMES)}")
    if layers is not None:
        config = cut(config, layers, checkpoint)
    wanted = set(NAMES if only is None else only)
    source, graphs, states = gather(checkpoint, config, mapping, vae, any(name.startswith("vae_") for name in wanted), attention)
    absent = [name for name in only or [] if name not in {g.name for g in graphs}]
    if absent:
        raise ExportError(f"--graphs: {checkpoint} has no {', '.join(absent)}")
    graphs = [g for g in graphs if g.name in wanted]
    write_folder(source, out, target or f"portable-{precision.name}", graphs, states, precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--checkpoint", required=True, help="a checkpoint folder, an exported folder, random:SEED, lingbot:PATH or wan:PATH")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, default="f32", help="of weights, products and cache (precision.py)")
    parser.add_argument("--attention", choices=ATTENTIONS, default=ATTENTIONS[0], help="how dit is written (graphs.py); textbook: as TensorRT fuses it")
    parser.add_argument("--target", help="what the manifest calls it; default: portable-PRECISION")
    parser.add_argument("--graphs", help=f"only these, separated by commas, of {','.join(NAMES)}")
    parser.add_argument("--layers", type=int, help="random: only the first so many layers of the configuration")
    parser.add_argument("--beside", type=Path, help="lingbot:, wan: a folder with commands.safetensors and normalisation.yaml")
    parser.add_argument("--names", default="", help="lingbot: names of DriveWAM's own modules, for example ego_attention=attn3,mlp=0/2")
    parser.add_argument("--missing", choices=("error", "init"), default="error", help="wan:, lingbot: init makes what a backbone without actions lacks, and lists it")
    parser.add_argument("--vae", help="lingbot:, wan: a diffusers folder of AutoencoderKLWan, or random:SEED")
    args = parser.parse_args()
    try:
        mapping, only = Mapping(args.beside, Names.parse(args.names), args.missing), args.graphs.split(",") if args.graphs else None
        export(load(args.config), args.checkpoint, args.out, args.target, mapping, args.vae, PRECISIONS[args.precision], args.layers, only, args.attention)
    except (ExportError, CheckpointError) as error:
        sys.exit(f"export: {error}")


if __name__ == "__main__":
    main()
