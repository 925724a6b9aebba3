"""Makes webdataset tars of photograph-like JPEGs, as img2dataset writes them, for the other scripts here.

    python tests/peers/pictures.py PHOTO_FOLDER OUT_FOLDER [SHARDS] [SAMPLES_PER_SHARD]

Each picture is a crop of one of the photographs at its own place and scale, so that no two are alike, resized
to a shorter side of 256 px (256-000.tar, ...) and of 512 px (512-000.tar, ...) and written at quality 95,
img2dataset's default. The same photographs give the same files.
"""

import io
import json
import random
import sys
import tarfile
from pathlib import Path

from PIL import Image


def photographs(folder):
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            image = Image.open(path)
            if min(image.size) >= 240:
                yield image.convert("RGB")


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def main():
    folder, out = sys.argv[1], Path(sys.argv[2])
    shards, each = (int(text) for text in (sys.argv[3:5] + ["2", "500"][len(sys.argv[3:5]):]))
    out.mkdir(parents=True, exist_ok=True)
    photos = list(photographs(folder))
    subjects = "dog street market bicycle mountain kitchen sailor museum bridge garden train window".split()
    for size in (256, 512):
        rng = random.Random(size)
        for shard in range(shards):
            with tarfile.open(out / f"{size}-{shard:03}.tar", "w") as tar:
                for number in range(each):
                    photo = photos[(shard * each + number) % len(photos)]
                    side = min(photo.size) * rng.uniform(0.6, 1.0)
                    ratio = rng.choice([1.0, 4 / 3, 3 / 2, 3 / 4])
                    width, height = min(side * max(ratio, 1), photo.size[0]), min(side / min(ratio, 1), photo.size[1])
                    left, top = rng.uniform(0, photo.size[0] - width), rng.uniform(0, photo.size[1] - height)
                    scale = size / min(width, height)
                    box = (left, top, left + width, top + height)
                    small = photo.resize((round(width * scale), round(height * scale)), Image.BICUBIC, box)
                    if rng.random() < 0.5:
                        small = small.transpose(Image.FLIP_LEFT_RIGHT)
                    data = io.BytesIO()
                    small.save(data, "JPEG", quality=95)
                    first, second = rng.sample(subjects, 2)
                    caption = f"A photo of a {first} next to the old {second}, taken on day {number} of the trip"
                    key = f"{shard:05}{number:04}"
                    add(tar, f"{key}.jpg", data.getvalue())
                    add(tar, f"{key}.txt", caption.encode())
                    add(tar, f"{key}.json", json.dumps({"caption": caption, "key": key, "status": "success"}).encode())
    print(f"{len(photos)} photographs, {2 * shards} shards of {each}")


if __name__ == "__main__":
    main()
