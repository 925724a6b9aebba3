"""Our pictures against open_clip's transforms (Pillow), in grey levels.

    pip install open_clip_torch==3.3.0 numpy
    cargo build --release -p shoestring-data --example squares
    python tests/peers/preprocess.py target/release/examples/squares FOLDER_OR_TAR...

Takes 200 pictures (all of the folders, then from the tars), squares of 16 to 224 px, in evaluation (centre crop,
and CLIPA's squash) and in training (random resized crops drawn by torchvision, 40 to 100 % of the area).
Transparent pictures are put on white first, as we do. Exit code 1: a mean above 1.0.
"""

import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

SIZES = [16, 32, 64, 84, 96, 112, 128, 160, 224]
COUNT = 200


def files(places, folder):
    found = []
    for place in map(Path, places):
        if place.is_dir():
            named = [path for path in sorted(place.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
            # Some are of another kind than their name says.
            found += [path for path in named if Image.open(path).format in ("JPEG", "PNG", "WEBP")]
            continue
        with tarfile.open(place) as tar:
            members = [member for member in tar if member.name.endswith((".jpg", ".png", ".webp"))]
            for member in random.Random(1).sample(members, min(len(members), COUNT)):
                path = folder / f"{place.stem}-{Path(member.name).name}"
                path.write_bytes(tar.extractfile(member).read())
                found.append(path)
    if len(found) > COUNT:
        step = len(found) / COUNT
        found = [found[int(number * step)] for number in range(COUNT)]
    return found


def opened(path):
    image = Image.open(path)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        return white.convert("RGB")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    return image.convert("RGB")


def main():
    program, places = sys.argv[1], sys.argv[2:]
    torch.manual_seed(3)
    with tempfile.TemporaryDirectory() as temporary:
        paths = files(places, Path(temporary))
        images = [opened(path) for path in paths]
        half = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
        requests, references = [], []
        for size in SIZES:
            centre = image_transform(size, is_train=False, **half)
            squash = image_transform(size, is_train=False, resize_mode="squash", **half)
            train = image_transform(size, is_train=True, **half)
            for path, image in zip(paths, images):
                box = RandomResizedCrop.get_params(image, (0.4, 1.0), (3 / 4, 4 / 3))
                top, left, height, width = box
                requests += [[str(path), size, view] for view in ("centre", "squash", [left, top, width, height])]
                cut = F.resized_crop(image, *box, [size, size], InterpolationMode.BICUBIC)
                # What comes after the crop in open_clip's own transform for training.
                for step in train.transforms[1:]:
                    cut = step(cut)
                references += [centre(image), squash(image), cut]
        found = subprocess.run(
            [program], input="".join(json.dumps(request) + "\n" for request in requests).encode(),
            stdout=subprocess.PIPE, check=True,
        ).stdout
    numbers = np.frombuffer(found, "<f4")
    at, differences = 0, {}
    for (path, size, view), reference in zip(requests, references):
        ours = numbers[at : at + 3 * size * size]
        at += 3 * size * size
        off = np.abs(ours - reference.numpy().reshape(-1)).mean() * 127.5
        kind = view if isinstance(view, str) else "crop"
        differences.setdefault((kind, size), []).append((off, Path(path).name))
    assert at == len(numbers), "as many numbers as were asked for"
    print(f"{len(paths)} pictures, mean absolute difference in grey levels (worst picture)")
    for kind in ("centre", "squash", "crop"):
        for size in SIZES:
            values = differences[kind, size]
            worst = max(values)
            print(f"  {kind:7} {size:4} px  {np.mean([off for off, _ in values]):.3f}  ({worst[0]:.2f} {worst[1]})")
    means = [np.mean([off for off, _ in values]) for values in differences.values()]
    print(f"all {np.mean(means):.3f}, highest of a kind and size {max(means):.3f}")
    sys.exit(1 if max(means) > 1.0 else 0)


if __name__ == "__main__":
    main()
