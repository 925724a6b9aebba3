"""Exported models loaded by open_clip and transformers: features equal to ours, and the way back.

    cargo build --release --bin shoestring
    pip install open_clip_torch==3.3.0 transformers safetensors
    python tests/peers/export.py [FOLDER_OF_THE_PROGRAM]

For S/16, B/16 and CLIPA-style models (average pooling, sine-cosine positions, text in both directions; one with
BERT's vocabulary), with weights that open_clip drew: `import` of a PyTorch checkpoint and of the folder that
open_clip writes, `export` to open_clip and, where it can be, to transformers; features of 100 pictures and captions
by each of the three, largest relative difference 1e-4. Then `import` of the folder that transformers writes. Tokens
of the exports' own tokenizers are ours. Hostile archives are refused. Exits with 1 where a check fails.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# Files beside this one have the names of libraries.
sys.path.pop(0)
import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import torch  # noqa: E402
from open_clip.model import set_model_preprocess_cfg  # noqa: E402
from open_clip.push_to_hf_hub import save_config_for_hf  # noqa: E402
from open_clip.transform import PreprocessCfg  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOESTRING = (pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target" / "release") / "shoestring"
PICTURES = 100
WORDS = "a photo of the red blue green fox cat dog house tree river under over near small large old new car".split()

TEXT = {"context_length": 77, "vocab_size": 49408}
MODELS = {
    "S/16": {
        "embed_dim": 384,
        "vision_cfg": {"image_size": 112, "layers": 12, "width": 384, "patch_size": 16},
        "text_cfg": {**TEXT, "width": 384, "heads": 6, "layers": 12},
    },
    "B/16": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 64, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {**TEXT, "context_length": 32, "width": 512, "heads": 8, "layers": 12},
    },
    "B/16 with QuickGELU, as OpenAI's": {
        "embed_dim": 512, "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {**TEXT, "context_length": 32, "width": 512, "heads": 8, "layers": 12},
    },
    "CLIPA-style S/16": {
        "embed_dim": 384,
        "vision_cfg": {
            "image_size": 112, "layers": 12, "width": 384, "patch_size": 16, "no_ln_pre": True, "pool_type": "avg",
            "final_ln_after_pool": True, "pos_embed_type": "sin_cos_2d",
        },
        "text_cfg": {
            **TEXT, "context_length": 32, "width": 384, "heads": 6, "layers": 12, "pool_type": "last",
            "no_causal_mask": True,
        },
    },
    "CLIPA-style S/16 with BERT's vocabulary": {
        "embed_dim": 384,
        "vision_cfg": {
            "image_size": 112, "layers": 12, "width": 384, "patch_size": 16, "no_ln_pre": True, "pool_type": "avg",
            "final_ln_after_pool": True, "pos_embed_type": "sin_cos_2d",
        },
        "text_cfg": {
            "context_length": 16, "vocab_size": 32000, "width": 384, "heads": 6, "layers": 12, "pool_type": "last",
            "no_causal_mask": True, "hf_tokenizer_name": "bert-base-uncased",
            "tokenizer_kwargs": {"strip_sep_token": True},
        },
    },
}


def run(*arguments, fails=None):
    """Runs one of our programs; gives what it says."""
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if (done.returncode != 0) != (fails is not None) or (fails and fails not in done.stderr):
        sys.exit(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def our_ids(captions, length, bert):
    """(captions, length) ids by `data tokenize`."""
    command = [SHOESTRING, "data", "tokenize", "--text-tokens", str(length), "--format", "json"]
    done = subprocess.run(command + (["--tokenizer", "bert"] if bert else []), input="\n".join(captions),
                          capture_output=True, text=True, check=True)
    return torch.tensor([row["token_ids"] for row in json.loads(done.stdout)["captions"]])


def ours(folder, work):
    """Features by `eval` of the pictures and captions as files, prepared and tokenized by itself."""
    out = work / "features.safetensors"
    run(SHOESTRING, "eval", folder, "--task", "retrieval", "--captions", work / "pairs.json", "--features", out)
    features = load_file(out)
    return features["images"], features["texts"]


def pictures(work, size, captions):
    """Writes pictures with their captions; (count, 3, size, size), normalised as OpenAI's by open_clip."""
    rng = np.random.default_rng(2)
    prepare = open_clip.image_transform(size, is_train=False)
    prepared, images = [], []
    for number, caption in enumerate(captions):
        # Waves and noise, so that pictures differ in more than noise.
        x, y = np.meshgrid(np.arange(size), np.arange(size))
        waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-0.5, 0.5, (3, 3))]
        drawn = 128 + 90 * np.stack(waves, -1) + rng.normal(0, 20, (size, size, 3))
        picture = Image.fromarray(drawn.clip(0, 255).astype(np.uint8))
        picture.save(work / f"{number}.png")
        prepared.append(prepare(picture))
        images.append({"filename": f"{number}.png", "split": "test", "sentences": [{"raw": caption}]})
    (work / "pairs.json").write_text(json.dumps({"images": images}))
    return torch.stack(prepared)


def theirs(model, pixels, ids):
    with torch.no_grad():
        images = torch.cat([model.encode_image(part, normalize=True) for part in pixels.split(20)])
        texts = torch.cat([model.encode_text(part, normalize=True) for part in ids.split(20)])
    return images, texts


def transformers_features(folder, pixels, ids, captions):
    model = CLIPModel.from_pretrained(folder).eval()
    CLIPImageProcessor.from_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    encoded = tokenizer(captions, padding="max_length", truncation=True, max_length=ids.shape[1])["input_ids"]
    for row, (expected, found) in enumerate(zip(ids.tolist(), encoded)):
        end = expected.index(49407) + 1
        if expected[:end] != found[:end]:
            sys.exit(f"transformers' tokenizer reads {captions[row]!r} as {found}, open_clip as {expected}")

    def features(output):
        tensor = output if torch.is_tensor(output) else output.pooler_output
        return torch.nn.functional.normalize(tensor, dim=-1)

    with torch.no_grad():
        images = torch.cat([features(model.get_image_features(pixel_values=part)) for part in pixels.split(20)])
        texts = torch.cat([features(model.get_text_features(input_ids=part)) for part in ids.split(20)])
    return images, texts


def difference(a, b):
    """Largest distance of two embeddings, relative to their length."""
    return ((a - b).norm(dim=-1) / b.norm(dim=-1)).max().item()


class Armed:
    """Starts a command where its pickle is loaded."""

    def __reduce__(self):
        return os.system, ("touch /tmp/shoestring-was-armed",)


def hostile(model, work, config):
    """Weights that do not fit, code, a bomb, a cut-off file."""

    def refused(path, words):
        said = run(SHOESTRING, "import", path, "--config", config, "--out", work / "refused", fails=words)
        print("  refused:", said.splitlines()[0].replace(str(work), "...")[:150])

    state = dict(model.state_dict())
    torch.save({**state, "visual.proj": torch.zeros(7, 9)}, work / "wrong.pt")
    refused(work / "wrong.pt", "tensor `visual.proj` is [7, 9]")
    torch.save({**state, "armed": Armed()}, work / "armed.pt")
    refused(work / "armed.pt", "names `posix.system`")
    torch.save(model, work / "whole.pt")
    refused(work / "whole.pt", "names `open_clip.model.CLIP`")
    torch.save({"logit_scale": torch.zeros(())}, work / "bomb.pt")
    with zipfile.ZipFile(work / "bomb.pt") as small, zipfile.ZipFile(work / "packed.pt", "w") as large:
        for name in small.namelist():
            content = bytes(200 << 20) if name.endswith("data/0") else small.read(name)
            large.writestr(name, content, zipfile.ZIP_DEFLATED if len(content) > 1000 else zipfile.ZIP_STORED)
    refused(work / "packed.pt", "is compressed")
    (work / "cut.pt").write_bytes((work / "wrong.pt").read_bytes()[:100_000])
    refused(work / "cut.pt", "is no archive of PyTorch 1.6 or later")
    if pathlib.Path("/tmp/shoestring-was-armed").exists():
        sys.exit("the code in the pickle was run")


def main():
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    failed = False

    def check(what, value, limit=1e-4):
        nonlocal failed
        failed |= not value <= limit
        print(f"  {what:<58} {value:.2e}  {'ok' if value <= limit else 'FAILED'}", flush=True)

    for name, config in MODELS.items():
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            (work / "config.json").write_text(json.dumps(config))
            model = open_clip.model.CLIP(**config).eval()
            # Weights away from their initial values, so that nothing is hidden by ones and zeros.
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(0.02 * torch.randn_like(parameter))
            size, length = config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"]
            captions = [" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(PICTURES)]
            pixels = pictures(work, size, captions)
            ids = our_ids(captions, length, "hf_tokenizer_name" in config["text_cfg"])
            expected = theirs(model, pixels, ids)

            torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
                       work / "epoch_3.pt")
            config_path = work / "config.json"
            run(SHOESTRING, "import", work / "epoch_3.pt", "--config", config_path, "--out", work / "imported")
            for what, a, b in zip(("pictures", "captions"), ours(work / "imported", work), expected):
                check(f"import of a .pt against open_clip, {what}", difference(a, b))

            # As `create_model` does.
            set_model_preprocess_cfg(model, dataclasses.asdict(PreprocessCfg()))
            (work / "published").mkdir()
            save_config_for_hf(model, work / "published" / "open_clip_config.json", model_config=config)
            save_file(model.state_dict(), work / "published" / "open_clip_model.safetensors")
            run(SHOESTRING, "import", work / "published", "--out", work / "read")
            for what, a, b in zip(("pictures", "captions"), ours(work / "read", work), expected):
                check(f"import of what open_clip writes, {what}", difference(a, b))

            run(SHOESTRING, "export", work / "imported", "--to", "open_clip", "--out", work / "exported")
            read = open_clip.get_tokenizer(f"local-dir:{work / 'exported'}")(captions)
            check("captions that its tokenizer reads otherwise", (read != ids).any(1).sum().item(), 0)
            loaded, _, _ = open_clip.create_model_and_transforms(f"local-dir:{work / 'exported'}")
            for what, a, b in zip(("pictures", "captions"), theirs(loaded.eval(), pixels, ids), expected):
                check(f"export loaded by open_clip, {what}", difference(a, b))

            if config["text_cfg"].get("no_causal_mask"):
                said = run(SHOESTRING, "export", work / "imported", "--to", "hf", "--out", work / "hf",
                           fails="cannot be expressed in Hugging Face's CLIPModel")
                print("  export to transformers is refused:", said.splitlines()[0])
                continue
            run(SHOESTRING, "export", work / "imported", "--to", "hf", "--out", work / "hf")
            found = transformers_features(work / "hf", pixels, ids, captions)
            for what, a, b in zip(("pictures", "captions"), found, expected):
                check(f"export loaded by transformers, {what}", difference(a, b))
            CLIPModel.from_pretrained(work / "hf").save_pretrained(work / "theirs")
            run(SHOESTRING, "import", work / "theirs", "--out", work / "back")
            for what, a, b in zip(("pictures", "captions"), ours(work / "back", work), expected):
                check(f"import of what transformers writes, {what}", difference(a, b))

            hostile(model, work, config_path)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
