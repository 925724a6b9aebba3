"""Parameters and FLOPs of towers with attention pooling and of every text pooling, as open_clip has them.

    python tests/peers/counts.py            # compares with planner/data/pooled_towers.csv, exits non-zero on a difference
    python tests/peers/counts.py --write    # writes that file

`cargo test -p shoestring-planner pooled` compares shoestring's counts with the same file. FLOPs are those of PyTorch's
own counter over one forward pass in training mode: products, convolutions and attention, two for each multiply-add.
"""

import csv
import io
import json
import pathlib
import sys

import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from torch.utils.flop_counter import FlopCounterMode

FILE = pathlib.Path(__file__).parents[2] / "planner" / "data" / "pooled_towers.csv"
HEADER = ["name", "image_parameters", "text_parameters", "image_flops", "text_flops", "config"]


def vision(**more):
    return {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32} | more


def text(**more):
    return {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12} | more


CONFIGS = {
    # CoCa's two towers without its captioning decoder (coca_ViT-B-32.json, coca_ViT-L-14.json).
    "coca-b-32": (512, vision(attentional_pool=True, attn_pooler_heads=8), text(context_length=76, embed_cls=True)),
    "coca-l-14": (
        768,
        vision(layers=24, width=1024, patch_size=14, attentional_pool=True, attn_pooler_heads=8),
        text(context_length=76, embed_cls=True, width=768, heads=12),
    ),
    "few-queries": (640, vision(attentional_pool=True, attn_pooler_queries=16, attn_pooler_heads=4), text()),
    "average-of-queries": (512, vision(attentional_pool=True, pool_type="avg", patch_size=16), text(pool_type="last")),
    "parallel": (768, vision(attentional_pool="parallel", attn_pooler_queries=64), text(pool_type="first")),
    "cascade": (768, vision(attentional_pool="cascade", patch_size=16), text(pool_type="eos", no_causal_mask=True)),
    "no-norm-before": (512, vision(attentional_pool=True, no_ln_pre=True, mlp_ratio=2.5), text()),
}


def flops(module, *inputs):
    counter = FlopCounterMode(display=False)
    with counter:
        module(*inputs)
    return counter.get_total_flops()


def row(name):
    embed_dim, image_cfg, text_cfg = CONFIGS[name]
    model = CustomTextCLIP(embed_dim, CLIPVisionCfg(**image_cfg), CLIPTextCfg(**text_cfg)).train()
    count = lambda tower: sum(parameter.numel() for parameter in tower.parameters())
    pixels = torch.zeros(1, 3, image_cfg["image_size"], image_cfg["image_size"])
    ids = torch.zeros(1, text_cfg["context_length"], dtype=torch.long)
    ids[0, -1] = 2
    config = {"embed_dim": embed_dim, "vision_cfg": image_cfg, "text_cfg": text_cfg}
    return [
        name,
        count(model.visual),
        count(model.text),
        flops(model.visual, pixels),
        flops(model.text, ids),
        json.dumps(config),
    ]


def main():
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(row(name) for name in CONFIGS)
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(table.getvalue())
    elif FILE.read_text() != table.getvalue():
        print(table.getvalue())
        sys.exit(f"{FILE.name} differs from what open_clip has now (above)")
    print(f"{len(CONFIGS)} towers: the same")


if __name__ == "__main__":
    main()
