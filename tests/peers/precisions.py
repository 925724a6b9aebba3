"""Whether bf16 products, and each kind of kernels, learn as well as f32: 500 steps of examples/shapes.toml, three seeds.

    python tests/peers/precisions.py path/to/shoestring [avx2 portable ...]

Named kernels: those alone, beside f32. Each run is evaluated on 9,600 pictures. Exits non-zero where a mean differs
from that of f32 by more than two standard errors of the difference, as the seeds spread.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

SEEDS = [1, 2, 3]
# Precision, and kernels forced (none: what the processor is best at).
VARIANTS = [("f32", None), ("bf16", None), ("bf16", "avx512-bf16"), ("f32", "avx2"), ("f32", "portable")]
STEPS, BATCH = [400, 100], 128


def recipe(seed, precision):
    text = (pathlib.Path(__file__).parents[2] / "examples" / "shapes.toml").read_text()
    stages = zip([131072, 32768], [6400, 1600], STEPS, strict=True)
    changes = [("seed = 1\n\n[budget]", f'seed = {seed}\n\n[optimizer]\nprecision = "{precision}"\n\n[budget]')]
    changes += [("cap_usd = 0.03", "cap_usd = 10.0"), ("\nsamples = 960\n", "\nsamples = 9600\n")]
    for samples, warmup, steps in stages:
        changes.append((f"samples = {samples}\n", f"samples = {steps * BATCH}\n"))
        changes.append((f"warmup_samples = {warmup}\n", f"warmup_samples = {steps * BATCH // 20}\n"))
    for before, after in changes:
        if text.count(before) != 1:
            sys.exit(f"examples/shapes.toml has {text.count(before)} times {before!r}")
        text = text.replace(before, after)
    return text


def accuracy(program, folder, seed, precision, kernels):
    name = f"{precision}-{kernels or 'native'}-{seed}"
    (folder / f"{name}.toml").write_text(recipe(seed, precision))
    environment = {**os.environ, **({"SHOESTRING_KERNELS": kernels} if kernels else {})}
    command = [program, "run", f"{name}.toml", "--dir", name, "--quiet"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    lines = (folder / name / "eval.jsonl").read_text().splitlines()
    return 100 * json.loads(lines[-1])["metrics"]["acc1"]


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    asked = sys.argv[2:]
    variants = [one for one in VARIANTS if not asked or one == VARIANTS[0] or one[1] in asked]
    found = {}
    with tempfile.TemporaryDirectory() as top:
        for variant in variants:
            found[variant] = [accuracy(program, pathlib.Path(top), seed, *variant) for seed in SEEDS]
            mean, each = statistics.mean(found[variant]), ", ".join(f"{one:.1f}" for one in found[variant])
            print(f"{variant[0]:<5} {variant[1] or 'native':<12} top-1 {mean:.1f} % ({each})", flush=True)
    reference, apart = found[VARIANTS[0]], False
    for variant in variants[1:]:
        difference = statistics.mean(found[variant]) - statistics.mean(reference)
        error = ((statistics.variance(found[variant]) + statistics.variance(reference)) / len(SEEDS)) ** 0.5
        apart |= abs(difference) > 2 * error
        print(f"{variant[0]} {variant[1] or 'native'} less f32: {difference:+.2f} points, standard error {error:.2f}")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
