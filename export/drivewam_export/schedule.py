"""The flow times at which a stream is denoised, in f64.

The runtime has the same arithmetic (core/flow/schedule.rs).
"""

from __future__ import annotations


def shifted(u: float, shift: float) -> float:
    """sigma(u) = s u / (1 + (s - 1) u)."""
    return shift * u / (1 + (shift - 1) * u)


def _between(steps: int, shift: float, last_u: float) -> list[tuple[float, float]]:
    level = lambda i: 1.0 if i == 0 else shifted(1 + (last_u - 1) * i / steps, shift)
    return [(level(i), level(i + 1)) for i in range(steps)]


def action_steps(steps: int, shift: float) -> list[tuple[float, float]]:
    """Steps (tau, tau_next) from noise to data."""
    return _between(steps, shift, 0.0)


def video_steps(steps: int, shift: float, end: dict) -> list[tuple[float, float]]:
    """Steps (tau, tau_next) from noise to one of the three readings of the paper's end: `{tau}`,
    `{denoise_fraction}`, `{exec_steps: {of}}`."""
    ((reading, value),) = end.items()
    if reading == "exec_steps":
        return _between(value["of"], shift, 0.0)[:steps]
    tau = {"tau": value, "denoise_fraction": 1 - value}[reading]
    path = _between(steps, shift, tau / (shift - (shift - 1) * tau))
    return path[:-1] + [(path[-1][0], tau)]
