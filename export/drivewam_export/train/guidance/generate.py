"""Generates the small VLM's text for every frame of drives, to train a policy with it.

`python -m drivewam_export.train.guidance.generate --data DIR --guidance engines/tiny`

Writes `generated.jsonl` beside each drive's `captions.jsonl`: the greedy answer under the command
in force, right or wrong, as in a ride. Skips drives that have the file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from .scenes import Scenes
from .shipped import load_vlm
from .vocabulary import MAX_NEW_TOKENS

FILE = "generated.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of input folders with captions"
    )
    parser.add_argument(
        "--guidance", type=Path, default=Path("engines/tiny"), help="a folder with a language model"
    )
    parser.add_argument("--batch", type=int, default=161)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scenes = Scenes.open(args.data)
    vlm, tokenizer = load_vlm(args.guidance, scenes.frames[0].shape[1:3])
    rows_of = np.split(
        np.arange(len(scenes)), np.cumsum([len(frames) for frames in scenes.frames])[:-1]
    )
    left = [
        (folder, rows)
        for folder, rows in zip(scenes.folders, rows_of)
        if not (folder / FILE).exists()
    ]
    since, count, right = time.time(), 0, 0
    for done, (folder, all_rows) in enumerate(left):
        lines = []
        for rows in np.array_split(all_rows, -(-len(all_rows) // args.batch)):
            command, captions = scenes.captions_for(rows, False)
            ids = vlm.generate(
                torch.from_numpy(command),
                [torch.from_numpy(p) for p in scenes.pictures(rows)],
                MAX_NEW_TOKENS,
            ).tolist()
            generated = [tokenizer.decode(row[: (row + [vlm.end]).index(vlm.end)]) for row in ids]
            lines += generated
            right += sum(a == b for a, b in zip(generated, captions))
        count += len(lines)
        aside = folder / (FILE + ".partial")
        aside.write_text("".join(json.dumps(line) + "\n" for line in lines))
        aside.rename(folder / FILE)
        if done % 20 == 0 or done + 1 == len(left):
            print(
                f"{done + 1} of {len(left)} drives, {count / (time.time() - since):.0f} frames/s, {right / count:.1%} equal to the caption",
                flush=True,
            )


if __name__ == "__main__":
    main()
