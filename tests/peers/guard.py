"""`shoestring guard` around real PyTorch/open_clip training: warned, saved, stopped, and not a micro-dollar over.

    python tests/peers/guard.py path/to/shoestring

Needs torch and open_clip. Spend is reckoned by this script's own clock, at a dollar a second. Exits non-zero when
a promise is not kept.
"""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

TRAIN = """
import os, signal, sys, time
import torch, open_clip

torch.manual_seed(0)
torch.set_num_threads(1)
distributed = "RANK" in os.environ
if distributed:
    torch.distributed.init_process_group("gloo")
rank = int(os.environ.get("RANK", 0))
warned = False

def warn(*_):
    global warned
    warned = True

signal.signal(signal.SIGTERM, warn)
model = open_clip.CLIP(
    embed_dim=64,
    vision_cfg=dict(image_size=32, layers=2, width=64, head_width=32, patch_size=8),
    text_cfg=dict(context_length=16, vocab_size=1000, width=64, heads=2, layers=2),
)
wrapped = torch.nn.parallel.DistributedDataParallel(model) if distributed else model
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
loss_function = open_clip.ClipLoss()
step = 0
while True:
    images, texts = torch.randn(32, 3, 32, 32), torch.randint(1, 1000, (32, 16))
    image_features, text_features, scale = wrapped(images, texts)[:3]
    loss = loss_function(image_features, text_features, scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    print(f"step {step} loss {loss.item():.3f}", flush=True)
    stop = torch.tensor(float(warned))
    if distributed:
        torch.distributed.all_reduce(stop)
    if stop.item():
        if rank == 0:
            state = dict(step=step, model=model.state_dict(), optimizer=optimizer.state_dict())
            torch.save(state, "checkpoint.tmp")
            os.replace("checkpoint.tmp", "checkpoint.pt")
        sys.exit(0)
    time.sleep(0.01)
"""

IGNORES = """
import signal, time, torch
signal.signal(signal.SIGTERM, signal.SIG_IGN)
a = torch.randn(64, 64)
while True:
    a = torch.tanh(a @ a)
    time.sleep(0.001)
"""

FORKS = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("daemon", "w").write(str(os.getpid()))
        while True:
            time.sleep(0.01)
    os._exit(0)
os.wait()
"""

failures = []


def check(what, holds):
    print(f"  {'ok  ' if holds else 'FAIL'} {what}")
    if not holds:
        failures.append(what)


def lives(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def guarded(name, program, folder, command, cap, grace):
    """Runs a command at a dollar a second; its summary and the micro-dollars over its cap."""
    print(f"{name}: cap {cap} USD at 1 USD a second, grace {grace} s")
    since = time.monotonic()
    arguments = [program, "guard", "--cap", str(cap), "--price", "3600", "--grace", f"{grace}s", "--dir", "guarded"]
    process = subprocess.Popen(
        [*arguments, "--format", "json", "--summary", "summary.json", "--", *command],
        cwd=folder,
        stdout=open(folder / "out.txt", "w"),
        stderr=subprocess.PIPE,
        text=True,
    )
    warned = None
    for line in process.stderr:
        if "warned" in line:
            warned = time.monotonic()
    code = process.wait()
    ended = time.monotonic()
    over = round((ended - since - cap) * 1e6)
    summary = json.loads((folder / "summary.json").read_text())
    print(f"  held {ended - since:.3f} s, {over} micro-dollars over the cap, ledger {summary['spent_usd']} USD")
    check("exit code 4, cap reached", code == 4 and summary["outcome"] == "cap_reached")
    check("nothing over the cap", over <= 0)
    check("warned", warned is not None and summary["warned"])
    if warned is not None:
        print(f"  {ended - warned:.2f} s from the warning to the end")
        check("stopped within the grace", ended - warned <= grace + 1.5)
    verify = subprocess.run([program, "ledger", "verify", "guarded"], cwd=folder, capture_output=True, text=True)
    check("the ledger verifies", verify.returncode == 0)
    return summary


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    python = sys.executable
    with tempfile.TemporaryDirectory() as top:
        for name, launcher in [
            ("open_clip", []),
            ("open_clip under torchrun, 2 processes", ["-m", "torch.distributed.run", "--nproc-per-node", "2"]),
        ]:
            folder = pathlib.Path(top) / str(len(launcher))
            folder.mkdir()
            (folder / "train.py").write_text(TRAIN)
            summary = guarded(name, program, folder, [python, *launcher, "train.py"], cap=60, grace=15)
            import torch

            checkpoint = folder / "checkpoint.pt"
            state = torch.load(checkpoint) if checkpoint.exists() else {"step": 0}
            print(f"  checkpoint of step {state['step']}")
            check("its checkpoint survives and loads", state["step"] > 0 and "optimizer" in state)
            check("it was not killed", not summary["killed"])
        folder = pathlib.Path(top) / "ignores"
        folder.mkdir()
        summary = guarded("PyTorch that ignores SIGTERM", program, folder, [python, "-c", IGNORES], cap=20, grace=5)
        check("it had to be killed", summary["killed"])
        folder = pathlib.Path(top) / "forks"
        folder.mkdir()
        summary = guarded("a daemon that ignores SIGTERM", program, folder, [python, "-c", FORKS], cap=12, grace=2)
        check("the daemon is gone", not lives((folder / "daemon").read_text()))
    print("FAILED: " + "; ".join(failures) if failures else "all promises kept")
    return 1 if failures else 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
