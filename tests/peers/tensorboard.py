"""A run's event files by TensorBoard's own reader, and its JSON lines by pandas and polars.

    pip install tensorboard pandas polars
    python tests/peers/tensorboard.py RUN

Every scalar that TensorBoard reads is the number of the line in metrics.jsonl or eval.jsonl. Exits with 1 where not.
"""

import json
import math
import pathlib
import sys

import pandas
import polars

sys.path = [path for path in sys.path if pathlib.Path(path or ".").resolve() != pathlib.Path(__file__).resolve().parent]
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

TRAIN = {
    "train/loss": "loss", "train/lr": "learning_rate", "train/scale": "logit_scale", "train/grad_norm": "grad_norm",
    "train/samples_per_second": "samples_per_second", "train/samples_seen": "samples_seen", "spend/usd": "spend_usd",
}
VALIDATION = {
    "val/zeroshot-top1": "acc1", "val/zeroshot-top5": "acc5", "val/mean-per-class-recall": "mean_per_class_recall",
}


def close(a, b):
    return math.isclose(a, b, rel_tol=2e-7, abs_tol=1e-30)


def main():
    run = pathlib.Path(sys.argv[1])
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    # Of a step that was trained again after a resume the last line counts.
    lines = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        lines[line["step"]] = line
    evaluations = {}
    for line in map(json.loads, (run / "eval.jsonl").read_text().splitlines()):
        evaluations[line["step"]] = line["metrics"]
    compared = 0
    for tag, field in (TRAIN | VALIDATION).items():
        expected = lines if tag in TRAIN else evaluations
        expected = {step: line[field] for step, line in expected.items() if line[field] is not None}
        if tag not in tags:
            sys.exit(f"{tag} is not among {tags}")
        found = {scalar.step: scalar.value for scalar in events.Scalars(tag)}
        if found.keys() != expected.keys():
            sys.exit(f"{tag}: steps {sorted(found)} instead of {sorted(expected)}")
        for step, value in expected.items():
            compared += 1
            if not close(found[step], value):
                sys.exit(f"{tag} at step {step}: {found[step]} instead of {value}")
    print(f"TensorBoard reads {len(tags)} tags, {compared} scalars, all equal to the lines")
    for name in ("metrics.jsonl", "eval.jsonl", "ledger.jsonl"):
        rows = len((run / name).read_text().splitlines())
        a = pandas.read_json(run / name, lines=True)
        b = polars.read_ndjson(run / name, infer_schema_length=None)
        if not len(a) == len(b) == rows or list(a.columns) != list(b.columns):
            sys.exit(f"{name}: {rows} lines, pandas {a.shape}, polars {b.shape}")
        print(f"{name}: {rows} lines; pandas {a.shape}, polars {b.shape}")


if __name__ == "__main__":
    main()
