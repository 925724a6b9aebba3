"""Samples a second on one core: our loader against open_clip's own pipeline (webdataset and Pillow).

    pip install open_clip_torch==3.3.0 webdataset
    python tests/peers/pictures.py PHOTO_FOLDER FOLDER
    cargo build --release --bin shoestring && cargo build --release -p shoestring-data --example load
    python tests/peers/loader.py target/release FOLDER [ROUNDS] [SET...]

Sets of tars: `256` and `512` of FOLDER (pixels of the shorter side), and `512-128` and `512-256`, the latter after
`data repack --size 128` and `256`; all when none is named. Both read the same tars, decode, crop, resize,
normalise, tokenize and make batches of 64, by turns, on one core, for targets of 64, 112 and 224 px that are no
larger than the pictures. Then ten passes of ours, for its memory. Exit code 1: less than 2.5 times at 64 and
112 px or 1.8 times at 224 px, or memory that grows.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

LEAST = {64: 2.5, 112: 2.5, 224: 1.8}
SETS = ["256", "512", "512-128", "512-256"]


def reference(size, shards):
    """A pass of open_clip_train's pipeline at each line on stdin (open_clip_train/data.py, get_wds_dataset)."""
    import open_clip
    import torch
    import webdataset as wds
    from open_clip.transform import image_transform
    from open_clip_train.data import detshuffle2, filter_no_caption_or_no_image, log_and_continue

    torch.set_num_threads(1)
    preprocess = image_transform(size, is_train=True, aug_cfg={"scale": (0.4, 1.0)})
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    for epoch, _ in enumerate(sys.stdin):
        pipeline = wds.DataPipeline(
            wds.SimpleShardList(shards),
            detshuffle2(bufsize=2000, initial=500, seed=0, epoch=epoch),
            # open_clip's own step of this kind does not know webdataset 1.0's samples.
            wds.tarfile_to_samples(handler=log_and_continue),
            wds.shuffle(bufsize=5000, initial=1000),
            wds.select(filter_no_caption_or_no_image),
            wds.decode("pilrgb", handler=log_and_continue),
            wds.rename(image="jpg;png;jpeg;webp", text="txt"),
            wds.map_dict(image=preprocess, text=lambda text: tokenizer(text)[0]),
            wds.to_tuple("image", "text"),
            wds.batched(64, partial=False),
        )
        start = time.perf_counter()
        samples = sum(len(images) for images, _ in pipeline)
        print(samples, time.perf_counter() - start, 0, flush=True)


class Worker:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        samples, seconds, memory = self.process.stdout.readline().split()
        return int(samples) / float(seconds), int(memory)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def tars(name, programs, folder):
    """The shards of a set; repacked ones are written when they are not there yet."""
    stored, _, repacked = name.partition("-")
    shards = [str(path) for path in sorted(folder.glob(f"{stored}-[0-9]*.tar"))]
    if not repacked:
        return shards
    out = folder / f"repacked-{name}"
    command = [programs / "shoestring", "data", "repack", *shards, "--out", out, "--size", repacked, "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return [str(path) for path in sorted(out.glob("shard-*.tar"))]


def main():
    programs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    program = str(programs / "examples" / "load")
    sets = {name: tars(name, programs, folder) for name in sys.argv[4:] or SETS}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    failed = False
    for name, shards in sets.items():
        side = int(name.rpartition("-")[2])
        for size, least in LEAST.items():
            if size > side:
                continue
            ours = Worker([program, str(size), *shards])
            theirs = Worker([sys.executable, __file__, "--reference", str(size), *shards])
            ours.run(), theirs.run()
            pairs = [(ours.run()[0], theirs.run()[0]) for _ in range(rounds)]
            theirs.stop()
            ratios = sorted(mine / other for mine, other in pairs)
            middle = statistics.median(ratios)
            mine, other = (statistics.median(side) for side in zip(*pairs))
            verdict = "ok" if middle >= least else "MISSED"
            failed |= middle < least
            print(
                f"{name:7} px to {size:3} px: ours {mine:6.0f}/s, open_clip {other:5.0f}/s, {middle:.2f} times"
                f" ({ratios[0]:.2f} to {ratios[-1]:.2f}), wanted {least}: {verdict}", flush=True,
            )
            if size == 64:
                memory = [ours.run()[1] for _ in range(10)]
                grown = memory[-1] - memory[1]
                failed |= grown > 8 << 20
                print(f"  memory over 10 passes: {memory[0] >> 20} to {max(memory) >> 20} MiB, grown by {grown} bytes after the second")
            ours.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if sys.argv[1] == "--reference":
        reference(int(sys.argv[2]), sys.argv[3:])
    else:
        main()
