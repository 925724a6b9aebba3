"""Training steps of this engine and of PyTorch, interleaved, on the same shapes.

    cargo build --release -p shoestring-engine --example peer_steps
    python tests/peers/bench.py --engine target/release/examples/peer_steps --shape a --rounds 5

Every engine is a process that stays; a round gives each of them the same few seconds in turn, in an order
that changes. Reported: the median of samples per second over the rounds, its spread, peak memory, and the ratio of
this engine to each other one, round by round. On a machine with other work, look at the ratio by processor
time too. Configurations of PyTorch: f32; bf16 (autocast); best (bf16 autocast, torch.compile, tcmalloc where
its library is found, fused AdamW); open_clip (its model and its defaults: f32, eager).
"""

import argparse
import glob
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def worker(configuration, name):
    """Takes steps when told to; see the `peer_steps` example for the protocol."""
    import torch

    from models import Plain, contrast, open_clip_model
    from shapes import SHAPES, VOCABULARY

    torch.set_num_threads(int(os.environ.get("THREADS", os.cpu_count())))
    torch.manual_seed(0)
    _, _, _, side, tokens, batch = SHAPES[name]
    model = open_clip_model(name) if configuration == "open_clip" else Plain(name)
    # No decay on vectors and positions, as both engines train.
    groups = [
        {"params": [p for p in model.parameters() if p.requires_grad and p.dim() < 2], "weight_decay": 0.0},
        {"params": [p for p in model.parameters() if p.requires_grad and p.dim() >= 2], "weight_decay": 0.2},
    ]
    fused = {"fused": True} if configuration != "open_clip" else {}
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, **fused)
    batches = []
    for _ in range(4):
        ids = (VOCABULARY ** torch.rand(batch, tokens)).long().clamp(1, VOCABULARY) - 1
        ids[:, -1] = VOCABULARY - 1
        batches.append((torch.rand(batch, 3, side, side) * 4 - 2, ids))

    def forward(pixels, ids):
        return contrast(*model(pixels, ids))

    if configuration == "best":
        forward = torch.compile(forward)
    half = configuration in ("bf16", "best")
    count = 0

    def step():
        nonlocal count
        pixels, ids = batches[count % 4]
        count += 1
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = forward(pixels, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        loss = float("nan")
        for _ in range(int(line)):
            loss = step()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        status = Path("/proc/self/status").read_text()
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "loss": loss}), flush=True)


class Engine:
    def __init__(self, label, command, environment):
        self.label = label
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **environment}
        )

    def steps(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker")
    parser.add_argument("--engine", help="the built example `peer_steps`")
    parser.add_argument("--shape", default="a")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each engine in each round, about")
    parser.add_argument("--peers", default="f32,bf16,best,open_clip")
    parser.add_argument("--out", help="append a line of JSON here")
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, arguments.shape)

    sys.path.insert(0, str(HERE))
    from shapes import SHAPES

    batch = SHAPES[arguments.shape][5]
    # Not the debugging one beside it, which is several times slower.
    allocator = glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4")[:1]
    engines = [Engine("shoestring", [arguments.engine, arguments.shape], {"CANDLE_BARRIER_POOL_SPIN_LIMIT": "1"})]
    for label in arguments.peers.split(","):
        environment = {"LD_PRELOAD": allocator[0]} if label == "best" and allocator else {}
        command = [sys.executable, __file__, "--worker", label, "--shape", arguments.shape]
        engines.append(Engine(label, command, environment))
    counts = {}
    for engine in engines:
        engine.steps(2)  # compiles, allocates
        took = engine.steps(1)["seconds"]
        counts[engine.label] = max(1, round(arguments.seconds / took))
        print(f"{engine.label}: ready, {took:.2f} s a step", file=sys.stderr, flush=True)
    found = {engine.label: [] for engine in engines}
    for round_number in range(arguments.rounds):
        shift = round_number % len(engines)
        for engine in engines[shift:] + engines[:shift]:
            count = counts[engine.label]
            answer = engine.steps(count)
            answer["rate"] = count * batch / answer["seconds"]
            answer["cpu_rate"] = count * batch / answer["cpu_seconds"]
            found[engine.label].append(answer)

    versions = {name: importlib.metadata.version(name) for name in ("torch", "open_clip_torch")}
    versions["allocator"] = Path(allocator[0]).name if allocator else "glibc"
    print(f"shape {arguments.shape}, batch {batch}, {arguments.rounds} rounds, {versions}, load {os.getloadavg()}")
    ours = found["shoestring"]
    report = {"shape": arguments.shape, "versions": versions, "load": os.getloadavg(), "engines": {}}
    for label, rounds in found.items():
        rates = sorted(answer["rate"] for answer in rounds)
        ratios = sorted(a["rate"] / b["rate"] for a, b in zip(ours, rounds))
        cpu_ratios = sorted(a["cpu_rate"] / b["cpu_rate"] for a, b in zip(ours, rounds))
        peak = rounds[-1]["peak_bytes"]
        row = {
            "samples_per_second": statistics.median(rates), "lowest": rates[0], "highest": rates[-1],
            "peak_megabytes": peak / 1e6, "memory_ratio": ours[-1]["peak_bytes"] / peak,
            "ratio": statistics.median(ratios), "ratio_lowest": ratios[0], "ratio_highest": ratios[-1],
            "cpu_ratio": statistics.median(cpu_ratios), "loss": rounds[-1]["loss"],
        }
        report["engines"][label] = row
        print(
            f"{label:>10}: {row['samples_per_second']:7.1f} samples/s ({row['lowest']:.1f} to {row['highest']:.1f}), "
            f"{row['peak_megabytes']:6.0f} MB; shoestring is {row['ratio']:.2f} x ({row['ratio_lowest']:.2f} to "
            f"{row['ratio_highest']:.2f}), by processor time {row['cpu_ratio']:.2f} x, memory {row['memory_ratio']:.2f}"
        )
    peak = statistics.median(answer["peak_flops_per_second"] for answer in ours)
    share = statistics.median(answer["flops"] / answer["seconds"] / answer["peak_flops_per_second"] for answer in ours)
    report["peak_flops_per_second"], report["share_of_peak"] = peak, share
    print(f"shoestring has {share:.0%} of the {peak / 1e9:.0f} GFLOP/s of products alone, timed after each round")
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
