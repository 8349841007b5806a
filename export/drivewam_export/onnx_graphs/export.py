"""Exports the graphs of a policy to ONNX, and checks each in ONNX Runtime against PyTorch.

`python -m drivewam_export.onnx_graphs.export --config configs/model/tiny.yaml --checkpoint
DIR|random:SEED --out engines/tiny`

The folder is written atomically, `manifest.yaml` last. The inputs of the check are those of the
self-test. `--precision f16|bf16` stores weights and cache in half (precision.py); `--attention
textbook` writes attention as TensorRT fuses it (graphs.py); `--graphs` and `--layers` export a
part. `--checkpoint lingbot:PATH` and `wan:PATH` read weights with other names (checkpoint.py), with
`--beside DIR` and, for a codec, `--vae DIR`.

The model is never in memory as a whole: weights are read one at a time, when they are written and
when PyTorch runs (streamed.py), and ONNX Runtime runs piece by piece (verify.py). So the paper's
size needs no more memory than a small part of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import sys
import time
from pathlib import Path

import torch
import yaml

from ..checkpoint import CheckpointError, Names
from ..codec import Codec
from ..config import ModelConfig, load
from ..folder import (
    Checkpoint,
    ExportError,
    Mapping,
    atomic_folder,
    open_checkpoint,
    open_monitor,
    sha256,
)
from ..model import DriveWam
from ..monitor import Monitor
from ..streamed import LazyWeights, Weights, in_memory, on_meta
from ..wan_vae import WanEncoder, open_vae
from . import self_test, trajectory, weights
from .graphs import (
    ATTENTIONS,
    NAMES,
    Graph,
    belongs,
    codec_graphs,
    monitor_graph,
    policy_graphs,
    wan_vae_graphs,
)
from .precision import F32, PRECISIONS, Precision, lower, supported
from .trace import OPSET, reference, tensor_entries, trace
from .verify import verify

ROLES = {"commands.safetensors": "commands", self_test.FILE: "self_test"}


def write_weights(
    out: Path, readers: list[Graph], traced: dict, precisions: dict[str, Precision], source: Weights
) -> None:
    """Writes the weight file of `readers` and points their graphs into it."""
    file, kinds = (
        readers[0].weights,
        list({precisions[g.name].name: precisions[g.name] for g in readers}.values()),
    )
    if len(kinds) > 1:
        raise ExportError(
            f"{file}: graphs read it in {' and in '.join(kind.name for kind in kinds)}"
        )
    # By ownership, not by use: a folder must be a whole checkpoint.
    owned = {name: shape for name, shape in source.shapes.items() if belongs(name, file)}
    places = weights.write(out / file, Weights(owned, source.read), kinds[0].stored)
    for graph in readers:
        weights.point_into(traced[graph.name], file, places, graph.prefix)


def export_graphs(
    graphs: list[Graph],
    sources: dict[str, Weights],
    config: ModelConfig,
    out: Path,
    wanted: Precision,
    texts: dict[str, torch.Tensor],
) -> tuple[dict, dict]:
    """Writes the graphs and the weight files that they read. Returns the manifest's `graphs:`
    section and the tensors of the self-test. `texts`: rows of each route command.

    `sources`: weights by prefix ("model.", "codec."). A weight file holds the union of what its
    graphs read. Releases `sources` and the graphs' modules before ONNX Runtime loads the files.
    """
    traced, precisions, inputs, outputs, entries, answers = {}, {}, {}, {}, {}, {}
    for graph in graphs:
        print(f"{graph.name}: tracing", file=sys.stderr, flush=True)
        traced[graph.name] = trace(graph, out / f"{graph.name}.onnx")
        precisions[graph.name] = supported(traced[graph.name], wanted)
        if wanted is not F32:
            lower(traced[graph.name], precisions[graph.name], graph.prefix)
    for file in dict.fromkeys(g.weights for g in graphs):
        readers = [g for g in graphs if g.weights == file]
        write_weights(out, readers, traced, precisions, sources[readers[0].prefix])
    for graph in graphs:
        traced[graph.name].producer_name, traced[graph.name].producer_version = (
            "drivewam-export",
            "",
        )
        (out / f"{graph.name}.onnx").write_bytes(
            traced[graph.name].SerializeToString(deterministic=True)
        )
        inputs[graph.name], outputs[graph.name] = (
            self_test.inputs(graph, config, precisions[graph.name], texts=texts),
            {},
        )
        for case, values in inputs[graph.name].items():
            print(f"{graph.name}: running PyTorch, {case}", file=sys.stderr, flush=True)
            with LazyWeights(graph.module, graph.prefix, sources[graph.prefix]):
                outputs[graph.name][case] = reference(graph, values)
            answers |= self_test.answer(graph.name, case, outputs[graph.name][case])
    for graph in graphs:
        graph.module = None
    sources.clear()
    for graph in graphs:
        precision, path, answered = (
            precisions[graph.name],
            out / f"{graph.name}.onnx",
            outputs[graph.name],
        )
        worst = verify(graph, path, precision, inputs[graph.name], answered)
        how = {"f32": "f32", "f16": "f16", "bf16": "bf16 (products emulated)"}[precision.name]
        asked = (
            ""
            if precision is wanted
            else f" (not in {wanted.name}: no ONNX operator set up to 20 has its convolutions)"
        )
        print(
            f"{graph.name}: ONNX Runtime in {how} differs from PyTorch in f32 by {worst:.1e}{asked}",
            file=sys.stderr,
            flush=True,
        )
        entry = {
            "file": path.name,
            "weights": [graph.weights],
            "opset": OPSET,
            "precision": precision.name,
            "tolerance": precision.tolerance,
        }
        if graph.attention:
            entry["attention"] = graph.attention
        ins = {
            value.name: list(graph.inputs[value.name].shape)
            for value in traced[graph.name].graph.input
        }
        outs = {name: list(value.shape) for name, value in next(iter(answered.values())).items()}
        entries[graph.name] = entry | {
            "inputs": tensor_entries(ins, graph, precision),
            "outputs": tensor_entries(outs, graph, precision),
        }
    return entries, answers


def file_entries(folder: Path) -> dict:
    """The manifest's `files:` section: role, hash and length of every file of the folder."""
    entries = {}
    for path in sorted(folder.iterdir()):
        role = (
            "graph"
            if path.suffix == ".onnx"
            else "tokenizer"
            if path.suffix == ".json"
            else ROLES.get(path.name, "weights")
        )
        entries[path.name] = {"role": role, "sha256": sha256(path), "bytes": path.stat().st_size}
    return entries


def write_folder(
    source: Checkpoint,
    out: Path,
    target: str,
    graphs: list[Graph],
    sources: dict[str, Weights],
    precision: Precision = F32,
) -> None:
    """Writes the graphs, the commands' text rows, the self-test and the manifest, atomically. Takes
    the weights from `sources`, not from `source`. Consumes `graphs` and `sources` (export_graphs).
    """
    config = source.config
    with atomic_folder(out) as aside:
        decoded = self_test.decoded(config, source.normalisation)
        answers = {"trajectory/decoded": decoded}
        if trajectory.GRAPHS <= {graph.name for graph in graphs}:
            print("self-test: a short rollout of PyTorch", file=sys.stderr, flush=True)
            predicted = trajectory.predicted(config, source, sources["model."])
            answers["trajectory/predicted"] = predicted
        entries, outputs = export_graphs(graphs, sources, config, aside, precision, source.rows)
        answers |= outputs
        weights.write(aside / "commands.safetensors", in_memory(source.rows))
        weights.write(aside / self_test.FILE, in_memory(answers))
        manifest = {
            "schema": 2,
            "name": config.name,
            "target": target,
            "flow_direction": "tau_1_is_noise",
            "model": config.to_dict(),
            "normalisation": source.normalisation,
            "schedule": source.schedule,
            **({"trained_ranges": source.trained_ranges} if source.trained_ranges else {}),
            **({"monitors": source.monitors} if "monitor" in entries else {}),
            "commands": {
                "file": "commands.safetensors",
                "rows": {k: v.shape[0] for k, v in source.rows.items()},
            },
            "self_test": {"file": self_test.FILE},
            "graphs": entries,
            "files": file_entries(aside),
            "training": source.record,
        }
        (aside / "manifest.yaml").write_text(
            yaml.safe_dump(manifest, sort_keys=False, width=160, default_flow_style=None)
        )
    print(
        f"{out}: {len(entries)} graphs, {sum(p.stat().st_size for p in out.iterdir()) / 1e6:.1f} MB\n"
        f"manifest {sha256(out / 'manifest.yaml')}: the value for engine.manifest_sha256",
        file=sys.stderr,
    )


def truncate(config: ModelConfig, layers: int, checkpoint: str) -> ModelConfig:
    """`config` with its first `layers` layers. Only random weights can be truncated."""
    if not checkpoint.startswith("random:"):
        raise ExportError(
            f"--layers {layers}: {checkpoint} has the weights of {config.layers} layers; wanted random:SEED"
        )
    if not 1 <= layers <= config.layers:
        raise ExportError(f"--layers {layers}: wanted 1 to {config.layers}")
    return dataclasses.replace(config, layers=layers)


def open_graphs(
    checkpoint: str,
    config: ModelConfig,
    mapping: Mapping,
    vae: str | None,
    with_codec: bool,
    attention: str = ATTENTIONS[0],
    monitor: Path | None = None,
) -> tuple[Checkpoint, list[Graph], dict[str, Weights]]:
    """The checkpoint, all its graphs, and their weights by prefix."""
    source = open_checkpoint(checkpoint, config, mapping, with_codec and vae is None)
    graphs, sources = [], {"model.": source.policy_weights}
    if source.codec_weights is not None and vae is not None:
        raise ExportError(f"{checkpoint}: has its own codec; got --vae {vae}, wanted none")
    if source.codec_weights is not None:
        graphs, sources["codec."] = codec_graphs(on_meta(Codec, config)), source.codec_weights
    elif vae is not None:
        codec = WanEncoder(open_vae(vae)).eval()
        graphs, sources["codec."] = wan_vae_graphs(codec, config), in_memory(codec.state_dict())
    if monitor is not None:
        source.monitor_weights, source.monitors = open_monitor(monitor, config)
        if source.monitor_weights is None:
            raise ExportError(f"--monitor {monitor}: has no monitor.safetensors")
    if source.monitor_weights is not None:
        graphs.append(monitor_graph(on_meta(Monitor, config), config))
        sources["monitor."] = source.monitor_weights
    return source, graphs + policy_graphs(on_meta(DriveWam, config), attention), sources


def export(
    config: ModelConfig,
    checkpoint: str,
    out: Path,
    target: str | None = None,
    mapping: Mapping = Mapping(),
    vae: str | None = None,
    precision: Precision = F32,
    layers: int | None = None,
    only: list[str] | None = None,
    attention: str = ATTENTIONS[0],
    trained_ranges: Path | None = None,
    monitor: Path | None = None,
) -> None:
    """Exports the checkpoint. `only`: names of the graphs, by default all that the checkpoint has.
    `target`: by default portable-PRECISION. `trained_ranges`: a file of train/ranges.py, in place
    of what the checkpoint states; `monitor`: a folder of train/monitor.py, in place of the
    checkpoint's own. Raises ExportError."""
    torch.set_num_threads(1)
    unknown = [name for name in only or [] if name not in NAMES]
    if unknown:
        raise ExportError(f"--graphs: got {', '.join(unknown)}; wanted some of {', '.join(NAMES)}")
    if layers is not None:
        config = truncate(config, layers, checkpoint)
    wanted = set(NAMES if only is None else only)
    with_codec = any(name.startswith("vae_") for name in wanted)
    source, graphs, sources = open_graphs(
        checkpoint, config, mapping, vae, with_codec, attention, monitor
    )
    absent = [name for name in only or [] if name not in {g.name for g in graphs}]
    if absent:
        raise ExportError(f"--graphs: {checkpoint} has no {', '.join(absent)}")
    graphs = [g for g in graphs if g.name in wanted]
    if trained_ranges is not None:
        source.trained_ranges = yaml.safe_load(trained_ranges.read_text())
    write_folder(source, out, target or f"portable-{precision.name}", graphs, sources, precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/model/tiny.yaml"))
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="a checkpoint folder, an exported folder, random:SEED, lingbot:PATH or wan:PATH",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="f32",
        help="type of weights, products and cache (precision.py)",
    )
    parser.add_argument(
        "--attention",
        choices=ATTENTIONS,
        default=ATTENTIONS[0],
        help="how dit is written (graphs.py); textbook: as TensorRT fuses it",
    )
    parser.add_argument(
        "--target", help="name of the target in the manifest; default: portable-PRECISION"
    )
    parser.add_argument(
        "--graphs", help=f"only these graphs, separated by commas, of {','.join(NAMES)}"
    )
    parser.add_argument(
        "--layers",
        type=int,
        help="random: number of layers to export, the first of the configuration",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        help="lingbot:, wan: a folder with commands.safetensors and normalisation.yaml",
    )
    parser.add_argument(
        "--names",
        default="",
        help="lingbot: names of DriveWAM's own modules, for example ego_attention=attn3,mlp=0/2",
    )
    parser.add_argument(
        "--missing",
        choices=("error", "init"),
        default="error",
        help="wan:, lingbot: init initialises the weights that a backbone without actions lacks, and lists them",
    )
    parser.add_argument(
        "--vae", help="lingbot:, wan: a diffusers folder of AutoencoderKLWan, or random:SEED"
    )
    parser.add_argument(
        "--trained-ranges",
        type=Path,
        help="a file of train.ranges, in place of the ranges that the checkpoint states",
    )
    parser.add_argument(
        "--monitor",
        type=Path,
        help="a folder of train.monitor, in place of the monitor that the checkpoint has",
    )
    args, began = parser.parse_args(), time.monotonic()
    try:
        mapping, only = (
            Mapping(args.beside, Names.parse(args.names), args.missing),
            args.graphs.split(",") if args.graphs else None,
        )
        export(
            load(args.config),
            args.checkpoint,
            args.out,
            args.target,
            mapping,
            args.vae,
            PRECISIONS[args.precision],
            args.layers,
            only,
            args.attention,
            args.trained_ranges,
            args.monitor,
        )
    except (ExportError, CheckpointError) as error:
        sys.exit(f"export: {error}")
    except KeyboardInterrupt:
        sys.exit("export: interrupted; nothing was written")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{time.monotonic() - began:.0f} s, peak memory {peak / 1e9:.2f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
