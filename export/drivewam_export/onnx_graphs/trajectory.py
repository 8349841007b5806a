"""The predicted trajectory of the self-test: one short rollout of the reference, up to metres.

The runtime repeats it in Warm with its own sampler, memory and engines (`pipeline/self_test.rs`):

- Chunk 0 is observed at rest: physically zero actions, the latent u("latent").
- Chunk 1 is predicted under the text of the model's first route command and the ego state `EGO`.
- Video: two steps from the noise 3^0.5 u("noise") in the used channels, to flow time 0.6.
- Actions: two steps from zero. The shifts are the manifest's `schedule`.
- The actions are undone with the manifest's normalisation and summed.

u is that of self_test.py, over `[Cz, Hz, Wz]` and `[Nv, channels]`. Weights are read one at a time.
"""

from __future__ import annotations

import numpy as np
import torch

from ..config import ModelConfig
from ..folder import Checkpoint
from ..memory import MemoryOptions
from ..model import DriveWam
from ..rollout import Options, Rollout
from ..streamed import LazyWeights, Weights, on_meta
from ..train.data import Normalisation, pack, unpack
from .self_test import uniform

GRAPHS = {"dit", "context_text", "context_ego"}
STEPS = 2
VIDEO_END = 0.6
EGO = {"speed_mps": 5.0, "acceleration_mps2": 0.5, "curvature_1pm": 0.01}


def by_rule(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(uniform(name, int(np.prod(shape))).reshape(shape))


def predicted(config: ModelConfig, source: Checkpoint, weights: Weights) -> torch.Tensor:
    """The trajectory [poses, 3]: x and y in metres, yaw in radians. `weights`: of the policy."""
    normalisation = Normalisation.from_dict(source.normalisation["action"])
    padded = lambda rows: torch.nn.functional.pad(rows, (0, config.token_width - rows.shape[1]))
    rest = pack(config, normalisation.apply(np.zeros((config.poses, 3)))).clip(-4, 4)
    options = Options(
        MemoryOptions("full", max_chunks=1),
        action_start="zero",
        video_steps=STEPS,
        video_shift=source.schedule["video"]["shift"],
        video_end={"tau": VIDEO_END},
        action_steps=STEPS,
        action_shift=source.schedule["action"]["shift"],
    )
    model = on_meta(DriveWam, config)
    with torch.no_grad(), LazyWeights(model, "", weights):
        chunk = Rollout(model, options).step(
            by_rule("latent", config.latent.channels, config.latent.height, config.latent.width),
            padded(torch.from_numpy(rest.astype(np.float32))),
            source.rows[config.text.commands[0]],
            torch.tensor([EGO[feature] for feature in config.ego.features]),
            padded(3**0.5 * by_rule("noise", config.nv, config.video_channels)),
        )
    actions = unpack(config, chunk.action[:, : config.action.channels].double().numpy())
    return torch.from_numpy(np.cumsum(normalisation.undo(actions), 0).astype(np.float32))
