"""copy.py MANIFEST OUT: copies the newest TensorRT and TensorRT-RTX headers of the crate in MANIFEST to OUT."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

CRATE = "trtx-sys"
SETS = {"tensorrt": "TRT-Enterprise-11.4", "tensorrt_rtx": "TRT-RTX-1.7"}


def main() -> None:
    manifest, out = sys.argv[1], Path(sys.argv[2])
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--manifest-path", manifest]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    crate = next(Path(p["manifest_path"]).parent for p in packages if p["name"] == CRATE)
    for name, folder in SETS.items():
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(crate / "TensorRT-Headers" / folder, out / name)


if __name__ == "__main__":
    main()
