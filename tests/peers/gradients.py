"""Compares the engine's loss and every tensor's gradient with open_clip's, on the same weights and batch.

    cargo run --release -p shoestring-engine --example peer_gradients -- FOLDER a 16
    python tests/peers/gradients.py FOLDER

Exits with 1 where a bound is broken. Needs torch, open_clip_torch, safetensors, numpy.
"""

import sys
from pathlib import Path

import torch
from models import contrast, open_clip_model
from safetensors.torch import load_file

# Loss: relative difference. Gradient: cosine, and norm within.
BOUNDS = {"f32": (1e-5, 0.99999, 1e-3), "bf16": (2e-2, 0.999, 5e-2)}


def main(folder):
    folder = Path(folder)
    found = load_file(folder / "found.safetensors")
    weights = load_file(folder / "model.safetensors")
    model = open_clip_model((folder / "shape.txt").read_text().strip())
    positions = model.visual.positional_embedding
    positions.data.zero_()
    positions.data[1:] = found["positions"]
    # Ours holds positions for the longest caption; the gradient of those beyond this one is zero.
    longest = weights["positional_embedding"]
    tokens = len(model.positional_embedding)
    weights["positional_embedding"] = longest[:tokens]
    for label in BOUNDS:
        assert not found[f"{label}.positional_embedding"][tokens:].any()
        found[f"{label}.positional_embedding"] = found[f"{label}.positional_embedding"][:tokens]
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"visual.positional_embedding"}, missing
    assert not unexpected, unexpected

    image, text, scale = model(found["pixels"], found["token_ids"])
    loss = contrast(image, text, scale)
    loss.backward()
    gradients = {name: tensor.grad for name, tensor in model.named_parameters() if tensor.grad is not None}
    bad = 0
    for label, (loss_bound, cosine_bound, norm_bound) in BOUNDS.items():
        relative = abs(found[f"{label}.loss"].item() - loss.item()) / abs(loss.item())
        worst = (1.0, "")
        whole = [0.0, 0.0, 0.0]
        compared = 0
        for name, tensor in weights.items():
            ours = found[f"{label}.{name}"].double().flatten()
            theirs = gradients[name].double().flatten()
            if name.endswith("attn.in_proj_bias"):
                # The gradient of the keys' bias is zero but for rounding: queries and values only.
                third = len(ours) // 3
                keep = torch.cat([torch.arange(third), torch.arange(2 * third, 3 * third)])
                ours, theirs = ours[keep], theirs[keep]
            dot, a, b = (ours @ theirs).item(), ours.norm().item(), theirs.norm().item()
            whole = [whole[0] + dot, whole[1] + a * a, whole[2] + b * b]
            cosine = dot / (a * b)
            worst = min(worst, (cosine, name))
            compared += 1
            if cosine < cosine_bound or abs(a / b - 1) > norm_bound:
                bad += 1
                print(f"{label} {name}: cosine {cosine:.7f}, norms {a:.6g} and {b:.6g}")
        cosine = whole[0] / (whole[1] * whole[2]) ** 0.5
        print(
            f"{label}: {compared} tensors; loss {found[f'{label}.loss'].item():.7f} and {loss.item():.7f} "
            f"(relative {relative:.1e}); cosine of all {cosine:.8f}, worst {worst[0]:.8f} ({worst[1]})"
        )
        bad += relative > loss_bound
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
