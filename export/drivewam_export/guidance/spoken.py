"""`python -m drivewam_export.guidance.spoken --out DIR`

The shipped policy with longer texts, and the small language model and text encoder that were trained on the world's captions: a folder that speaks. The policy itself
was not trained with their words.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import yaml

from .. import config as configs
from ..onnx_graphs.export import export
from .join import join

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    guidance = ROOT / "engines/tiny-guidance"
    rows, _ = yaml.safe_load((guidance / "guidance.yaml").read_text())["graphs"]["text_encode"]["outputs"][0]["shape"]
    config = configs.load(ROOT / "configs/model/tiny.yaml")
    longer = dataclasses.replace(config, text=dataclasses.replace(config.text, max_rows=rows, padded_rows=rows))
    with tempfile.TemporaryDirectory() as scratch:
        export(longer, str(ROOT / "engines/tiny"), Path(scratch) / "policy")
        join(Path(scratch) / "policy", guidance, args.out)


if __name__ == "__main__":
    main()
