"""Train: renders scenes, trains the detector, scores it and exports it, in one run.

The learning rate depends on the share of the time budget that has passed, so it reaches its end value on a machine of
any speed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from demo.scenes.objects import CLASS_NAMES
from demo.training.augment import Augmenter
from demo.training.dataset import Scenes, render_scenes
from demo.training.evaluate import HELD_OUT_SEED, Detect, Report, clip_rows, evaluate, format_report
from demo.training.export import check_onnx, export_onnx
from demo.training.loss import detector_loss, make_targets
from demo.training.model import AerialDetector, DeployedDetector

WARMUP_SHARE = 0.03
"""Share of the budget in which the learning rate rises."""
EMA_LIMIT = 0.999
"""Largest decay of the moving average of weights."""
HEAT_WEIGHT, BOX_WEIGHT = 1.0, 4.0
LOG_EVERY = 20
"""Steps."""


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the demonstration detector.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=5.0, help="training budget")
    parser.add_argument("--total-minutes", type=float, default=8.4, help="whole run; shortens training where needed")
    parser.add_argument(
        "--reserve-seconds", type=float, default=55.0, help="kept of the whole run for scoring and export"
    )
    parser.add_argument("--scenes", type=int, default=14000)
    parser.add_argument("--scene-size", type=int, default=704)
    parser.add_argument(
        "--render-seconds", type=float, default=110.0, help="stop rendering training scenes after this time"
    )
    parser.add_argument("--held-out", type=int, default=128)
    parser.add_argument("--held-out-size", type=int, default=1280)
    parser.add_argument("--size", type=int, default=640, help="side of the training crops")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args(arguments)


def rate_at(share: float, peak: float) -> float:
    """Learning rate after a share (0..1) of the budget: warm-up, then cosine."""
    if share < WARMUP_SHARE:
        return peak * max(share / WARMUP_SHARE, 0.02)
    done = min((share - WARMUP_SHARE) / (1 - WARMUP_SHARE), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to the device in pieces through page-locked memory."""
    if device.type == "cpu":
        return torch.from_numpy(array)
    target = torch.empty(array.shape, dtype=torch.from_numpy(array[:1]).dtype, device=device)
    for start in range(0, len(array), 256):
        piece = torch.from_numpy(array[start : start + 256]).pin_memory()
        target[start : start + 256].copy_(piece, non_blocking=True)
    torch.cuda.synchronize()
    return target


class Average:
    """Exponential moving average of weights and normalisation statistics."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model."""
        self.steps += 1
        share = 1 - min(EMA_LIMIT, (1 + self.steps) / (10 + self.steps))
        current = model.state_dict()
        names = [name for name, value in self.state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[n] for n in names], [current[n] for n in names], share)


def make_optimizer(model: nn.Module, rate: float, fused: bool) -> torch.optim.Optimizer:
    """Create an AdamW optimiser that decays convolution kernels alone."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, fused=fused)


def train(
    scenes: Scenes, options: argparse.Namespace, device: torch.device, seconds: float
) -> tuple[AerialDetector, list[dict[str, float]]]:
    """Train within a time budget.

    Args:
        scenes: the training scenes.
        options: options of the command line.
        device: device to train on.
        seconds: time budget.

    Returns:
        The detector with averaged weights, and the log.
    """
    torch.manual_seed(options.seed)
    cuda = device.type == "cuda"
    augmenter = Augmenter(upload(scenes.pictures, device), upload(scenes.boxes, device), options.size, options.seed)
    model = AerialDetector().to(device).to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, options.rate, cuda)
    average = Average(model)
    log: list[dict[str, float]] = []
    start = time.monotonic()
    step = 0
    while (elapsed := time.monotonic() - start) < seconds:
        rate = rate_at(elapsed / seconds, options.rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, boxes = augmenter.batch(options.batch)
        targets = make_targets(boxes, len(CLASS_NAMES), options.size, options.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            logits, raw = model(images.contiguous(memory_format=torch.channels_last))
        heat, box = detector_loss(logits, raw, targets)
        optimizer.zero_grad(set_to_none=True)
        (HEAT_WEIGHT * heat + BOX_WEIGHT * box).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        average.update(model)
        step += 1
        # Reading a loss waits for the device. Without that the clock would run ahead of the training.
        if step % LOG_EVERY == 0 or step == 1:
            entry = {
                "step": step,
                "seconds": round(time.monotonic() - start, 1),
                "rate": rate,
                "heat": heat.item(),
                "box": box.item(),
                "objects": targets.count.item() / options.batch,
            }
            log.append(entry)
            if not math.isfinite(entry["heat"] + entry["box"]):
                raise RuntimeError(f"loss is not finite: {entry}")
            if step == 1 or step % (10 * LOG_EVERY) == 0 or not cuda:
                print(json.dumps(entry), flush=True)
    model.load_state_dict(average.state)
    return model.eval(), log


def torch_detector(detector: AerialDetector, device: torch.device) -> Detect:
    """Return a detector that runs the deployed head in torch."""
    deployed = DeployedDetector(detector).to(device).eval()

    @torch.inference_mode()
    def detect(pictures: list[np.ndarray]) -> list[np.ndarray]:
        stack = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float() / 255
        output = deployed(stack.contiguous(memory_format=torch.channels_last)).cpu().numpy()
        return [clip_rows(rows, *picture.shape[:2]) for rows, picture in zip(output, pictures, strict=True)]

    return detect


def describe(report: Report) -> dict[str, object]:
    """Turn a report into JSON values."""
    per_class = {
        name: None if math.isnan(value) else round(value, 4)
        for name, value in zip(CLASS_NAMES, report.average_precision, strict=True)
    }
    return {
        "map50": None if math.isnan(report.mean) else round(report.mean, 4),
        "ap50": per_class,
        "truths": dict(zip(CLASS_NAMES, report.truths, strict=True)),
    }


def main() -> None:
    """Run everything and write the results to the output folder."""
    begin = time.monotonic()
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    seconds: dict[str, float] = {}

    # Rendering forks, which is safe only before CUDA is initialised.
    held = render_scenes(HELD_OUT_SEED, options.held_out, options.held_out_size, options.workers)
    first_seed = options.seed * 1_000_000
    if first_seed + options.scenes > HELD_OUT_SEED:
        raise SystemExit("training seeds would reach into the held-out ones")
    scenes = render_scenes(first_seed, options.scenes, options.scene_size, options.workers, options.render_seconds)
    seconds["render"] = time.monotonic() - begin
    print(f"rendered {len(scenes.pictures)} + {len(held.pictures)} in {seconds['render']:.0f} s", flush=True)

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    # TF32 would round sampling grids; the convolutions run in BF16 anyway.
    torch.backends.cuda.matmul.allow_tf32 = False
    left = options.total_minutes * 60 - options.reserve_seconds - seconds["render"]
    budget = min(options.minutes * 60, left)
    started = time.monotonic()
    detector, log = train(scenes, options, device, budget)
    seconds["train"] = time.monotonic() - started

    checkpoint = options.out / "detector.pt"
    torch.save({"model": {k: v.cpu() for k, v in detector.state_dict().items()}}, checkpoint)

    # The summary is written here and after later steps, so that an interrupted run keeps its results so far.
    summary: dict[str, object] = {
        "command": "python -m demo.training.train " + " ".join(sys.argv[1:]),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "parameters": sum(p.numel() for p in detector.parameters()),
        "training_scenes": len(scenes.pictures),
        "training_seeds": [first_seed, first_seed + len(scenes.pictures) - 1],
        "held_out_scenes": len(held.pictures),
        "held_out_seeds": [HELD_OUT_SEED, HELD_OUT_SEED + len(held.pictures) - 1],
        "held_out_size": options.held_out_size,
        "steps": log[-1]["step"] if log else 0,
        "batch": options.batch,
        "crop": options.size,
        "seconds": seconds,
        "log": log[:: max(1, len(log) // 100)],
    }
    _write(options.out, summary)
    started = time.monotonic()
    pairs = [(held.pictures[i], held.truth(i)) for i in range(len(held.pictures))]
    report = evaluate(torch_detector(detector, device), pairs, 8 if device.type == "cuda" else 1)
    seconds["score"] = time.monotonic() - started
    print(format_report(report), flush=True)
    summary["held_out"] = describe(report)
    _write(options.out, summary)
    started = time.monotonic()
    export_onnx(detector, options.out / "demo.onnx")
    seconds["export"] = time.monotonic() - started
    started = time.monotonic()
    summary["onnx_difference"] = check_onnx(detector, options.out / "demo.onnx")
    seconds["check"] = time.monotonic() - started
    seconds["total"] = time.monotonic() - begin
    _write(options.out, summary)
    print(json.dumps({k: round(v, 1) for k, v in seconds.items()}), flush=True)


def _write(folder: Path, summary: dict[str, object]) -> None:
    """Write the summary as JSON."""
    (folder / "training.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
