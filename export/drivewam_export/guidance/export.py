"""Exports the guidance models to ONNX, and checks each graph in ONNX Runtime against PyTorch.

`python -m drivewam_export.guidance.export --vlm DIR --text DIR --image 448x832 --out DIR`

Writes `vlm_vision`, `vlm_decoder` and `text_encode` atomically, and last `guidance.yaml`: what a
runtime needs to know of the checkpoint, and the graphs' inputs and outputs. Each graph has one
safetensors file with the checkpoint's own names; tied weights are stored once. `--precision
f16|bf16` stores weights and cache in half (onnx_graphs/precision.py). `guidance.join` merges such a
folder into a policy's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Sequence

import onnx
import torch
import yaml
from transformers import Qwen3VLForConditionalGeneration, UMT5EncoderModel

from ..folder import ExportError, atomic_folder
from ..onnx_graphs import self_test, weights
from ..onnx_graphs.export import file_entries
from ..onnx_graphs.graphs import Graph
from ..onnx_graphs.precision import F32, PRECISIONS, Precision, lower, supported
from ..onnx_graphs.trace import OPSET, reference, tensor_entries, trace
from ..onnx_graphs.verify import verify
from ..streamed import in_memory
from . import decoder, text, vision
from .decoder import decoder_graph
from .text import text_graph
from .vision import vision_graph

# their frequencies do not change with the length
STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def belongs(name: str, file: str) -> bool:
    """Whether the safetensors file `file` holds the checkpoint's weight `name`."""
    visual = name.startswith("model.visual.")
    return {decoder.FILE: not visual, vision.FILE: visual, text.FILE: True}[file]


def untied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` without the second names of tied weights. The tracer also uses the first name."""
    first = {}
    for name, tensor in state.items():
        first.setdefault((tensor.data_ptr(), tuple(tensor.shape)), name)
    return {name: state[name] for name in first.values()}


def tables(graph: Graph) -> dict[str, str]:
    """The buffers of an image graph that are stored beside the checkpoint's weights, with their
    names in the weight file."""
    return (
        {name: f"{graph.name}.{name}" for name in ("positions", "rope")}
        if graph.weights == vision.FILE
        else {}
    )


def write_file(
    out: Path, readers: list[Graph], traced: dict[str, onnx.ModelProto], precision: Precision
) -> None:
    """Writes the weight file of `readers`, which share a model, and points their graphs into it."""
    file = readers[0].weights
    kept = untied(
        {
            name: value
            for name, value in readers[0].module.model.state_dict().items()
            if belongs(name, file)
        }
    )
    for graph in readers:
        kept |= {stored: getattr(graph.module, name) for name, stored in tables(graph).items()}
    places = weights.write(out / file, in_memory(kept), precision.stored)
    for graph in readers:
        weights.point_into(
            traced[graph.name],
            file,
            places | {name: places[stored] for name, stored in tables(graph).items()},
            graph.prefix,
        )


def read_in_place(model: onnx.ModelProto) -> None:
    """Turns every product of rows [N, I] with a weight [O, I] into a Gemm that reads the weight in
    its stored layout. The tracer writes a product without a bias as Transpose and MatMul; ONNX
    Runtime would then make a transposed copy of each weight at load, and a second copy of a tied
    embedding."""
    weight_names = {tensor.name for tensor in model.graph.initializer}
    turned = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Transpose" and node.input[0] in weight_names
    }
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in turned:
            node.op_type, node.input[1] = "Gemm", turned[node.input[1]]
            node.attribute.append(onnx.helper.make_attribute("transB", 1))
    read = {name for node in model.graph.node for name in node.input}
    kept = [
        node for node in model.graph.node if node.output[0] not in turned or node.output[0] in read
    ]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def entry(
    graph: Graph, model: onnx.ModelProto, precision: Precision, outputs: dict[str, torch.Tensor]
) -> dict:
    """The graph's entry in `guidance.yaml`, with the keys of a manifest's `graphs:` section.
    `outputs`: of any shape."""
    ins = {value.name: list(graph.inputs[value.name].shape) for value in model.graph.input}
    return {
        "file": f"{graph.name}.onnx",
        "weights": [graph.weights],
        "opset": OPSET,
        "precision": precision.name,
        "tolerance": precision.tolerance,
        "inputs": tensor_entries(ins, graph, precision),
        "outputs": tensor_entries(
            {name: list(value.shape) for name, value in outputs.items()}, graph, precision
        ),
    }


def facts(
    model: Qwen3VLForConditionalGeneration,
    size: tuple[int, int],
    end_tokens: Sequence[int],
    pixels: dict,
) -> dict:
    """What a runtime needs to know of the language model (core/guidance.rs). `inverse_frequencies`
    are the checkpoint's own f32 numbers, so that the runtime does not recompute them. `size`:
    height and width of an image; `pixels`: `mean` and `std` of the checkpoint's processor."""
    c, v = model.config.text_config, model.config.vision_config
    rotary = model.model.language_model.rotary_emb
    if rotary.rope_type not in STATIC_ROPE:
        raise ExportError(
            f"rope type {rotary.rope_type!r}: its frequencies change with the length; wanted one of {', '.join(STATIC_ROPE)}"
        )
    return {
        "layers": c.num_hidden_layers,
        "kv_heads": c.num_key_value_heads,
        "head_dim": c.head_dim,
        "width": c.hidden_size,
        "vocabulary": c.vocab_size,
        "deepstack": len(v.deepstack_visual_indexes),
        "image": {
            "height": size[0],
            "width": size[1],
            "patch": v.patch_size,
            "temporal_patch": v.temporal_patch_size,
            "merge": v.spatial_merge_size,
            **pixels,
        },
        "image_token": model.config.image_token_id,
        "vision_start_token": model.config.vision_start_token_id,
        "vision_end_token": model.config.vision_end_token_id,
        "end_tokens": list(end_tokens),
        "rope": {
            "sections": list(getattr(rotary, "mrope_section", (c.head_dim // 2, 0, 0))),
            "inverse_frequencies": rotary.inv_freq.tolist(),
            "scale": float(rotary.attention_scaling),
        },
    }


def end_tokens(model: Qwen3VLForConditionalGeneration) -> list[int]:
    """The tokens that end an answer, from the checkpoint's generation config."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def pixels(checkpoint: Path | None = None) -> dict:
    """`mean` and `std` of the checkpoint's image processor; Qwen3-VL's where it has none."""
    path = checkpoint and checkpoint / "preprocessor_config.json"
    record = json.loads(path.read_text()) if path and path.exists() else {}
    return {"mean": record.get("image_mean", [0.5] * 3), "std": record.get("image_std", [0.5] * 3)}


def vocabulary(graph: Graph) -> int:
    """The vocabulary size of the graph's model, for graphs that read `ids`."""
    config = graph.module.model.config
    return config.vocab_size if graph.name == "text_encode" else config.text_config.vocab_size


def in_own_memory(model: torch.nn.Module) -> torch.nn.Module:
    """`model` in f32 with its weights copied out of the file's mapping: the rounding of products
    depends on the alignment of their operands."""
    model = model.eval().float()
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def write_graphs(
    graphs: list[Graph], out: Path, slack: float, wanted: Precision
) -> dict[str, dict]:
    """Writes the graphs, their weight files and the self-test. Returns their entries."""
    for graph in graphs:
        graph.module.eval()  # the tracer restores the mode of the whole module, and with it dropout
    traced = {graph.name: trace(graph, out / f"{graph.name}.onnx") for graph in graphs}
    precisions = {name: supported(model, wanted) for name, model in traced.items()}
    for graph in graphs:
        read_in_place(traced[graph.name])
        if wanted is not F32:
            lower(traced[graph.name], precisions[graph.name], graph.prefix)
    for file in dict.fromkeys(graph.weights for graph in graphs):
        readers = [graph for graph in graphs if graph.weights == file]
        write_file(out, readers, traced, precisions[readers[0].name])
    entries, answers = {}, {}
    for graph in graphs:
        path, precision = out / f"{graph.name}.onnx", precisions[graph.name]
        traced[graph.name].producer_name, traced[graph.name].producer_version = (
            "drivewam-export",
            "",
        )
        path.write_bytes(traced[graph.name].SerializeToString(deterministic=True))
        inputs = self_test.inputs(graph, None, precision, vocabulary(graph))
        answered = {case: reference(graph, values) for case, values in inputs.items()}
        worst = verify(graph, path, precision, inputs, answered, slack)
        print(
            f"{graph.name}: ONNX Runtime in {precision.name} differs from PyTorch in f32 by {worst:.1e}",
            file=sys.stderr,
            flush=True,
        )
        entries[graph.name] = entry(
            graph, traced[graph.name], precision, next(iter(answered.values()))
        )
        for case, outputs in answered.items():
            answers |= self_test.answer(graph.name, case, outputs)
    weights.write(out / self_test.FILE, in_memory(answers))
    return entries


def export(
    vlm: Qwen3VLForConditionalGeneration | None,
    encoder: UMT5EncoderModel | None,
    out: Path,
    images: Sequence[tuple[int, int]] = (),
    rows: int = 128,
    tokenizers: dict[str, Path] = {},
    checkpoint: Path | None = None,
    training: dict | None = None,
    slack: float = 1.0,
    precision: Precision = F32,
) -> None:
    """Exports the guidance models to `out`. Raises ExportError.

    `images`: sizes (height, width) in pixels; one graph `vlm_vision`, or one `vlm_vision.HxW` each
    for several. `rows`: T of the text. `tokenizers`: the `tokenizer.json` of "vlm" and of "text".
    `checkpoint`: the folder of `vlm`; `training`: a free-form record of the training. `slack`
    multiplies the limit of the check, for weights whose products lose more digits than those of the
    small models.
    """
    torch.set_num_threads(1)
    graphs, sizes = [], {}
    if vlm is not None:
        vlm = in_own_memory(vlm)
        sizes = {
            "vlm_vision" if len(images) == 1 else f"vlm_vision.{height}x{width}": (height, width)
            for height, width in images
        }
        graphs += [
            vision_graph(vlm, height, width, name) for name, (height, width) in sizes.items()
        ] + [decoder_graph(vlm)]
    if encoder is not None:
        graphs.append(text_graph(in_own_memory(encoder), rows))
    with atomic_folder(out) as aside:
        record = {
            "graphs": write_graphs(graphs, aside, slack, precision),
            "images": {name: list(size) for name, size in sizes.items()},
        }
        if vlm is not None:
            record["vlm"] = facts(vlm, images[0], end_tokens(vlm), pixels(checkpoint))
        if encoder is not None:
            c = encoder.config
            record["text"] = {
                "vocabulary": c.vocab_size,
                "pad_token": c.pad_token_id,
                "end_token": c.eos_token_id,
            }
        for name, path in tokenizers.items():
            record[name]["tokenizer"] = f"{name}_tokenizer.json"
            shutil.copyfile(path, aside / record[name]["tokenizer"])
        if training is not None:
            record["training"] = training
        record["files"] = file_entries(aside)
        (aside / "guidance.yaml").write_text(
            yaml.safe_dump(record, sort_keys=False, width=160, default_flow_style=None)
        )


def size(value: str) -> tuple[int, int]:
    """Parses "448x832" to (height, width)."""
    height, width = value.split("x")
    return int(height), int(width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--vlm", type=Path, help="a checkpoint folder of Qwen3VLForConditionalGeneration"
    )
    parser.add_argument("--text", type=Path, help="a checkpoint folder of UMT5EncoderModel")
    parser.add_argument(
        "--image",
        type=size,
        action="append",
        default=[],
        help="HEIGHTxWIDTH in pixels; may be repeated",
    )
    parser.add_argument(
        "--rows", type=int, default=128, help="number of text rows, including padding"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="f32", help="type of weights, products and cache"
    )
    parser.add_argument(
        "--training", type=Path, help="a JSON file with the training record, kept in guidance.yaml"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        vlm = (
            Qwen3VLForConditionalGeneration.from_pretrained(args.vlm, dtype=torch.float32)
            if args.vlm
            else None
        )
        encoder = (
            UMT5EncoderModel.from_pretrained(args.text, dtype=torch.float32) if args.text else None
        )
        folders = {
            name: folder for name, folder in (("vlm", args.vlm), ("text", args.text)) if folder
        }
        found = {
            name: folder / "tokenizer.json"
            for name, folder in folders.items()
            if (folder / "tokenizer.json").exists()
        }
        training = json.loads(args.training.read_text()) if args.training else None
        export(
            vlm,
            encoder,
            args.out,
            args.image,
            args.rows,
            found,
            args.vlm,
            training,
            precision=PRECISIONS[args.precision],
        )
    except ExportError as error:
        sys.exit(f"export: {error}")


if __name__ == "__main__":
    main()
