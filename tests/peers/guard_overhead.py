"""What `guard` costs a command, and the ledger a run: alternating rounds with and without, on a quiet machine.

    python tests/peers/guard_overhead.py path/to/shoestring [rounds]

Needs strace for the second part. Exits non-zero where either costs 0.5 % or more.
"""

import pathlib
import re
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
BOUND = 0.005


def timed(command, folder):
    since = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - since


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    recipe = pathlib.Path(__file__).parent.parent / "recipes" / "small.toml"
    worst = 0.0
    with tempfile.TemporaryDirectory() as top:
        folder = pathlib.Path(top)
        bare = [sys.executable, "-c", WORK]
        guard = [program, "guard", "--cap", "1000", "--price", "3600", "--grace", "10s", "--quiet", "--", *bare]
        ratios = []
        for index in range(rounds):
            order = [("bare", bare), ("guarded", guard)]
            seconds = {name: timed(command, folder) for name, command in (order if index % 2 else order[::-1])}
            # What a guard takes to start and end is paid once, not in proportion.
            ratios.append(seconds["guarded"] / seconds["bare"] - 1)
            print(f"round {index + 1}: bare {seconds['bare']:.3f} s, guarded {seconds['guarded']:.3f} s")
        share = statistics.median(ratios)
        print(f"guard: {100 * share:+.2f} % of the time of the command (median of {rounds} rounds)")
        worst = max(worst, share)

        text = recipe.read_text().replace("samples = 960", "samples = 480000")
        (folder / "run.toml").write_text(text.replace("every_cap_fraction = 0.0002", "every_cap_fraction = 0.1"))
        since = time.perf_counter()
        trace = ["strace", "-f", "-qq", "-y", "-T", "-e", "trace=fsync,fdatasync,write", "-o", "trace.txt"]
        process = subprocess.Popen(
            [*trace, program, "run", "run.toml", "--dir", "run", "--quiet"], cwd=folder, stdout=subprocess.DEVNULL
        )
        time.sleep(60)
        process.send_signal(2)
        subprocess.run(["pkill", "-INT", "-P", str(process.pid)], check=False)
        process.wait()
        wall = time.perf_counter() - since
        spent, rows = 0.0, 0
        for line in (folder / "trace.txt").read_text().splitlines():
            found = re.search(r"(fdatasync|fsync|write)\(\d+<[^>]*ledger\.jsonl>.*<([0-9.]+)>$", line)
            if found:
                spent += float(found.group(2))
                rows += found.group(1) != "write"
        share = spent / wall
        print(f"ledger: {rows} rows on disk in {spent:.3f} s of {wall:.1f} s, {100 * share:.3f} % of the run")
        worst = max(worst, share)
    return 0 if worst < BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
