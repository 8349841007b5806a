"""`python -m drivewam_export.onnx_graphs.export --config configs/model/tiny.yaml --checkpoint DIR|random:SEED --out engines/tiny`

Exports all graphs to a folder written aside and renamed, checks each against PyTorch in ONNX Runtime, and writes `manifest.yaml` last. Also
`--checkpoint lingbot:PATH` and `wan:PATH` for weights under other names (checkpoint.py), with `--beside DIR` and, for a codec, `--vae DIR`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import yaml

from ..checkpoint import CheckpointError, Names
from ..config import ModelConfig, load
from ..folder import Checkpoint, ExportError, Mapping, open_checkpoint, sha256
from ..wan_vae import WanEncoder, encoder_graphs, open_vae
from . import weights
from .graphs import Graph, belongs, codec_graphs, dit_inputs, policy_graphs

OPSET = 18
TOLERANCE = 1e-5


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


def table(values, dynamic) -> list[dict]:
    """Border tensors for the manifest."""
    rows = []
    for value in values:
        dims = [dynamic.get(value.name, {}).get(i, d.dim_value or None) for i, d in enumerate(value.type.tensor_type.shape.dim)]
        rows.append({"name": value.name, "dtype": "f32", "shape": dims})
    return rows


def close(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))


def verify(graph: Graph, path: Path, examples: list[dict[str, torch.Tensor]]) -> float:
    """Largest relative difference of ONNX Runtime to PyTorch over `examples`."""
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for example in examples:
        with torch.no_grad():
            wanted = graph.module(*example.values())
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        got = session.run(graph.outputs, {k: v.numpy() for k, v in example.items()})
        worst = max(worst, *(close(g, w.numpy()) for g, w in zip(got, wanted)))
    if worst > TOLERANCE:
        raise ExportError(f"{graph.name}: ONNX Runtime differs from PyTorch by {worst:.1e} (wanted at most {TOLERANCE:.0e})")
    return worst


def export_graphs(graphs: list[Graph], states: dict[str, dict[str, torch.Tensor]], out: Path, examples=None) -> dict:
    """Writes the graphs and the weight files that they read. Returns the manifest's `graphs:` section.

    `states`: per prefix ("model.", "codec.") the state dict. A weight file holds the union of what its graphs read.
    """
    traced, entries = {}, {}
    for graph in graphs:
        print(f"tracing {graph.name}", file=sys.stderr, flush=True)
        path = out / f"{graph.name}.onnx"
        traced[graph.name] = trace(graph, path)
    for file in dict.fromkeys(g.weights for g in graphs):
        readers = [g for g in graphs if g.weights == file]
        state = states[readers[0].prefix]
        # By ownership, not by use: the tracer merges equal tensors, and a folder must be a whole checkpoint.
        places = weights.write(out / file, {name: value for name, value in state.items() if belongs(name, file)})
        for graph in readers:
            weights.point_into(traced[graph.name], file, places, graph.prefix)
    for graph in graphs:
        model, path = traced[graph.name], out / f"{graph.name}.onnx"
        model.producer_name, model.producer_version = "drivewam-export", ""
        path.write_bytes(model.SerializeToString(deterministic=True))
        worst = verify(graph, path, (examples or {}).get(graph.name, [graph.inputs]))
        print(f"{graph.name}: ONNX Runtime equals PyTorch to {worst:.1e}", file=sys.stderr, flush=True)
        entry = {"file": path.name, "weights": [graph.weights], "opset": OPSET, "precision": "f32"}
        if graph.attention:
            entry["attention"] = graph.attention
        entries[graph.name] = entry | {"inputs": table(model.graph.input, graph.dynamic), "outputs": table_of_outputs(graph)}
    return entries


def table_of_outputs(graph: Graph) -> list[dict]:
    with torch.no_grad():
        values = graph.module(*graph.inputs.values())
    values = values if isinstance(values, tuple) else (values,)
    return [
        {"name": name, "dtype": "f32", "shape": [graph.dynamic.get(name, {}).get(i, d) for i, d in enumerate(value.shape)]}
        for name, value in zip(graph.outputs, values)
    ]


def vouch(folder: Path) -> dict:
    """The manifest's `files:` section: hash and length of every file of the folder."""
    entries = {}
    for path in sorted(folder.iterdir()):
        entries[path.name] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    return entries


def write_folder(source: Checkpoint, out: Path, target: str, graphs: list[Graph], states: dict, examples=None) -> None:
    """Writes the graphs, the commands' text rows and the manifest to a folder aside, then renames it to `out`. Of `source` the weights are not
    read: `states` has them."""
    config = source.config
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        entries = export_graphs(graphs, states, aside, examples)
        weights.write(aside / "commands.safetensors", source.rows)
        manifest = {
            "schema": 1, "name": config.name, "target": target, "flow_direction": "tau_1_is_noise", "model": config.to_dict(),
            "normalisation": source.normalisation, "schedule": source.schedule,
            "commands": {"file": "commands.safetensors", "rows": {k: v.shape[0] for k, v in source.rows.items()}},
            "graphs": entries, "files": vouch(aside), "training": source.record,
        }
        (aside / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, width=160, default_flow_style=None))
        old = out.with_name(out.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            os.rename(out, old)
        os.rename(aside, out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"{out}: {len(entries)} graphs, {sum(p.stat().st_size for p in out.iterdir()) / 1e6:.1f} MB", file=sys.stderr)


def dit_examples(c: ModelConfig) -> list[dict[str, torch.Tensor]]:
    """Inputs that `dit` is checked with: a video step, an action step and a packed pass."""
    return [dit_inputs(c, v, a, s, seed) for seed, (v, a, s) in enumerate([(c.nv, 0, 40), (0, c.na, 172), (c.nv, c.na, 172)])]


def export(config: ModelConfig, checkpoint: str, out: Path, target: str, mapping: Mapping = Mapping(), vae: str | None = None) -> None:
    torch.set_num_threads(1)
    source = open_checkpoint(checkpoint, config, mapping)
    graphs, states = [], {"model.": source.model.state_dict()}
    if source.codec is not None and vae is not None:
        raise ExportError(f"{checkpoint}: has a codec of its own, got --vae {vae}")
    if source.codec is not None:
        graphs, states["codec."] = codec_graphs(source.codec), source.codec.state_dict()
    elif vae is not None:
        codec = WanEncoder(open_vae(vae)).eval()
        graphs, states["codec."] = encoder_graphs(codec, config), codec.state_dict()
    graphs += policy_graphs(source.model)
    write_folder(source, out, target, graphs, states, {"dit": dit_examples(config)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument("--checkpoint", required=True, help="a checkpoint folder, an exported folder, random:SEED, lingbot:PATH or wan:PATH")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", default="portable-f32")
    parser.add_argument("--beside", type=Path, help="lingbot:, wan: a folder with commands.safetensors and normalisation.yaml")
    parser.add_argument("--names", default="", help="lingbot: names of DriveWAM's own modules, for example ego_attention=attn3,mlp=0/2")
    parser.add_argument("--missing", choices=("error", "init"), default="error", help="wan:, lingbot: init makes what a backbone without actions lacks, and lists it")
    parser.add_argument("--vae", help="lingbot:, wan: a diffusers folder of AutoencoderKLWan, or random:SEED")
    args = parser.parse_args()
    try:
        mapping = Mapping(args.beside, Names.parse(args.names), args.missing)
        export(load(args.config), args.checkpoint, args.out, args.target, mapping, args.vae)
    except (ExportError, CheckpointError) as error:
        sys.exit(f"export: {error}")


if __name__ == "__main__":
    main()
