"""What `guard` costs a command, and the ledger a run: alternating rounds with and without, on a quiet machine.

    python tests/peers/guard_overhead.py path/to/shoestring [rounds]

Rounds differ by more than what is looked for, so the verdict on `guard` is the processor time that it takes itself
beside a command that sleeps. A run is measured by itself and below one to three budgets within each other; that needs
strace. Exits non-zero where anything costs 0.5 % or more.
"""

import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

WORK = """
import time
total = 0
start = time.process_time()
for number in range(60_000_000):
    total += number * number % 7
print(total, time.process_time() - start)
"""
SLEEP_SECONDS = 60
RUN_SECONDS = 60
# Quanta grow to what the disk asks for by then.
SETTLED_SECONDS = 10
BOUND = 0.005


def timed(command, folder):
    since = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - since


def processor_share(guard, folder):
    """Of one core, what a guard takes while its command sleeps, start and end included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed([*guard, "sleep", str(SLEEP_SECONDS)], folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / wall


def ledger_share(program, levels, folder):
    """What writing and syncing rows takes of a run below so many budgets within each other, after its first quanta."""
    above = []
    for level in range(levels):
        name = f"level-{levels}-{level}.toml"
        create = [program, "ledger", "budget", "create", name, "--cap", "1000"]
        create += ["--parent", above[-1]] if above else []
        subprocess.run(create, cwd=folder, check=True, capture_output=True)
        above.append(name)
    run = [program, "run", "run.toml", "--dir", f"run-{levels}", "--quiet"]
    trace = ["strace", "-f", "-qq", "-y", "-ttt", "-T", "-e", "trace=fsync,fdatasync,write", "-o", "trace.txt"]
    process = subprocess.Popen(
        [*trace, *run, *(["--budget", above[-1]] if above else [])], cwd=folder, stdout=subprocess.DEVNULL
    )
    time.sleep(RUN_SECONDS)
    subprocess.run(["pkill", "-INT", "-P", str(process.pid)], check=False)
    process.wait()
    call = re.compile(r"^\d+ +([0-9.]+) (fdatasync|fsync|write)\(\d+<[^>]*/(ledger|level-\d-\d)\.jsonl>.*<([0-9.]+)>$")
    calls = []
    for line in (folder / "trace.txt").read_text().splitlines():
        found = call.search(line)
        if found:
            calls.append((float(found.group(1)), found.group(2), float(found.group(4))))
    first, last = calls[0][0] + SETTLED_SECONDS, calls[-1][0]
    inside = [(name, seconds) for at, name, seconds in calls if at >= first]
    spent = sum(seconds for _, seconds in inside)
    return spent / (last - first), sum(name != "write" for name, _ in inside), last - first


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    recipe = pathlib.Path(__file__).parent.parent / "recipes" / "small.toml"
    worst = 0.0
    with tempfile.TemporaryDirectory() as top:
        folder = pathlib.Path(top)
        bare = [sys.executable, "-c", WORK]
        guard = [program, "guard", "--cap", "1000", "--price", "3600", "--grace", "10s", "--quiet", "--"]
        guarded = [*guard, *bare]
        ratios = []
        for index in range(rounds):
            order = [("bare", bare), ("guarded", guarded)]
            seconds = {name: timed(command, folder) for name, command in (order if index % 2 else order[::-1])}
            # What a guard takes to start and end is paid once, not in proportion.
            ratios.append(seconds["guarded"] / seconds["bare"] - 1)
            print(f"round {index + 1}: bare {seconds['bare']:.3f} s, guarded {seconds['guarded']:.3f} s")
        spread = f"{100 * min(ratios):+.2f} to {100 * max(ratios):+.2f}"
        print(f"guard: {100 * statistics.median(ratios):+.2f} % of the time of the command ({spread}, {rounds} rounds)")
        share = processor_share(guard, folder)
        print(f"guard: {100 * share:.3f} % of one core for {SLEEP_SECONDS} s beside a command that sleeps")
        worst = max(worst, share)

        text = recipe.read_text().replace("samples = 960", "samples = 480000")
        (folder / "run.toml").write_text(text.replace("every_cap_fraction = 0.0002", "every_cap_fraction = 0.1"))
        for levels in range(4):
            share, rows, wall = ledger_share(program, levels, folder)
            print(f"ledger below {levels} budgets: {rows} rows on disk, {100 * share:.3f} % of a run of {wall:.1f} s")
            worst = max(worst, share)
    return 0 if worst < BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
