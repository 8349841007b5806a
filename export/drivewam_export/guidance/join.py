"""Merges a folder of `guidance.export` into a policy's folder, under one manifest.

`python -m drivewam_export.guidance.join --policy DIR --guidance DIR --out DIR`

`--guidance` is a folder of `guidance.export`, or one that was joined before. Changes neither
folder, unless `--out` names it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import yaml
from safetensors.torch import load_file

from ..folder import ExportError, atomic_folder
from ..onnx_graphs import self_test, weights
from ..onnx_graphs.export import file_entries
from ..streamed import in_memory

GRAPHS = ("vlm_vision", "vlm_decoder", "text_encode")
OWN = ("manifest.yaml", "guidance.yaml", self_test.FILE)


def guidance_record(folder: Path) -> dict:
    """`guidance.yaml` of an exported folder; of a joined one, the same from its manifest."""
    if (folder / "guidance.yaml").exists():
        return yaml.safe_load((folder / "guidance.yaml").read_text())
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    if "guidance" not in manifest:
        raise ExportError(f"{folder}: holds no language model")
    record = manifest["guidance"] | {"graphs": {name: manifest["graphs"][name] for name in GRAPHS}}
    training = (manifest.get("training") or {}).get("guidance")
    if training is not None:
        record["training"] = training
    return record


def files_of(record: dict) -> set[str]:
    """The files of the guidance's graphs and tokenizers."""
    graphs = [entry for name, entry in record["graphs"].items() if name in GRAPHS]
    files = {entry["file"] for entry in graphs}
    files.update(file for entry in graphs for file in entry["weights"])
    return files | {record[model]["tokenizer"] for model in ("vlm", "text") if model in record}


def join(policy: Path, guidance: Path, out: Path) -> None:
    """Writes the merged folder to `out`. Raises ExportError where the two do not fit together."""
    manifest = yaml.safe_load((policy / "manifest.yaml").read_text())
    record = guidance_record(guidance)
    if "built" in manifest:
        raise ExportError(f"{policy}: holds built engines; wanted a folder of ONNX graphs")
    if sorted(record["graphs"]) != sorted(GRAPHS) or any(
        "tokenizer" not in record.get(name, {}) for name in ("vlm", "text")
    ):
        raise ExportError(
            f"{guidance}: has {', '.join(record['graphs'])}; wanted {', '.join(GRAPHS)}, and the tokenizer of both models"
        )
    text, shape = manifest["model"]["text"], record["graphs"]["text_encode"]["outputs"][0]["shape"]
    if shape != [text["max_rows"], text["dim"]]:
        raise ExportError(
            f"{guidance}: text_encode returns {shape}; the policy wants "
            f"[{text['max_rows']}, {text['dim']}] (--rows, and an encoder of that width)"
        )
    graphs = {name: entry for name, entry in manifest["graphs"].items() if name not in GRAPHS}
    before = files_of(manifest.get("guidance", {}) | {"graphs": manifest["graphs"]})
    answers = {
        name: value
        for folder, is_guidance in ((policy, False), (guidance, True))
        for name, value in load_file(folder / self_test.FILE).items()
        if (name.split("/")[0] in GRAPHS) == is_guidance
    }
    with atomic_folder(out) as aside:
        for folder, files in (
            (policy, set(manifest["files"]) - before),
            (guidance, files_of(record)),
        ):
            for name in files - set(OWN):
                if (aside / name).exists():
                    raise ExportError(f"both folders have a file {name}")
                shutil.copyfile(folder / name, aside / name)
        weights.write(aside / self_test.FILE, in_memory(answers))
        facts = {"vlm": record["vlm"], "text": record["text"]}
        if "training" in record:
            manifest["training"] = (manifest.get("training") or {}) | {
                "guidance": record["training"]
            }
        manifest |= {
            "guidance": facts,
            "graphs": graphs | record["graphs"],
            "files": file_entries(aside),
        }
        (aside / "manifest.yaml").write_text(
            yaml.safe_dump(manifest, sort_keys=False, width=160, default_flow_style=None)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--policy", type=Path, required=True, help="a folder of the policy's ONNX graphs"
    )
    parser.add_argument("--guidance", type=Path, required=True, help="a folder of guidance.export")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        join(args.policy, args.guidance, args.out)
    except ExportError as error:
        sys.exit(f"join: {error}")


if __name__ == "__main__":
    main()
