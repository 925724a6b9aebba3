"""Exported models loaded by open_clip and transformers: features equal to ours, and the way back.

    cargo build --bin shoestring --example encode
    pip install open_clip_torch==3.3.0 transformers safetensors
    python tests/peers/export.py

For S/16, B/16 and a CLIPA-style model (average pooling, sine-cosine positions, text in both directions), with weights
that open_clip drew: `import` of a PyTorch state dict, `export` to open_clip and, where it can be, to transformers;
features of 100 pictures and captions by each of the three, largest relative difference 1e-4. Then `import` of the
exports again. Exits with 1 where a check fails.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target" / "debug"
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
}


def run(*arguments, fails=None):
    """Runs one of our programs; gives what it says."""
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if (done.returncode != 0) != (fails is not None) or (fails and fails not in done.stderr):
        sys.exit(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def ours(folder, inputs, work):
    out = work / "features.safetensors"
    run(TARGET / "examples" / "encode", folder, inputs, out)
    features = load_file(out)
    return features["images"], features["texts"]


def theirs(model, pixels, ids):
    with torch.no_grad():
        images = torch.cat([model.encode_image(part, normalize=True) for part in pixels.split(20)])
        texts = torch.cat([model.encode_text(part, normalize=True) for part in ids.split(20)])
    return images, texts


def transformers_features(folder, pixels, ids, captions):
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

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
            pixels = torch.randn(PICTURES, 3, size, size)
            ids = open_clip.get_tokenizer("ViT-B-32", context_length=length)(captions)
            save_file({"pixels": pixels, "token_ids": ids}, work / "inputs.safetensors")
            expected = theirs(model, pixels, ids)

            torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
                       work / "epoch_3.pt")
            shoestring = TARGET / "shoestring"
            run(shoestring, "import", work / "epoch_3.pt", "--config", work / "config.json", "--out", work / "imported")
            for what, a, b in zip(("pictures", "captions"), ours(work / "imported", work / "inputs.safetensors", work), expected):
                check(f"import of a .pt against open_clip, {what}", difference(a, b))

            run(shoestring, "export", work / "imported", "--to", "open_clip", "--out", work / "exported")
            loaded, _, _ = open_clip.create_model_and_transforms(f"local-dir:{work / 'exported'}")
            for what, a, b in zip(("pictures", "captions"), theirs(loaded.eval(), pixels, ids), expected):
                check(f"export loaded by open_clip, {what}", difference(a, b))

            if config["text_cfg"].get("no_causal_mask"):
                said = run(shoestring, "export", work / "imported", "--to", "hf", "--out", work / "hf",
                           fails="cannot be expressed in Hugging Face's CLIPModel")
                print("  export to transformers is refused:", said.splitlines()[0])
                continue
            run(shoestring, "export", work / "imported", "--to", "hf", "--out", work / "hf")
            for what, a, b in zip(("pictures", "captions"), transformers_features(work / "hf", pixels, ids, captions), expected):
                check(f"export loaded by transformers, {what}", difference(a, b))
            run(shoestring, "import", work / "hf", "--out", work / "back")
            for what, a, b in zip(("pictures", "captions"), ours(work / "back", work / "inputs.safetensors", work), expected):
                check(f"import of that from transformers' names, {what}", difference(a, b))

            # Weights that do not fit: which tensor, both shapes.
            state = dict(model.state_dict())
            state["visual.proj"] = torch.zeros(7, 9)
            torch.save(state, work / "wrong.pt")
            said = run(shoestring, "import", work / "wrong.pt", "--config", work / "config.json", "--out", work / "wrong",
                       fails="tensor `visual.proj` is [7, 9]")
            print("  ", said.splitlines()[0].replace(str(work), "..."))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
