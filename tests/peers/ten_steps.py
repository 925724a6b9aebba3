"""Takes the engine's training steps again with open_clip's model and PyTorch's AdamW, and compares each loss.

    cargo run --release -p shoestring-engine --example peer_ten_steps -- FOLDER tiny
    python tests/peers/ten_steps.py FOLDER

The same weights, data and learning rates; weight decay on matrices alone, clipping at each step, the temperature
clamped. Exits with 1 where a loss differs by more than 1e-4 relative. Needs torch, open_clip_torch, safetensors.
"""

import math
import sys
from pathlib import Path

import torch
from models import contrast, open_clip_model
from safetensors.torch import load_file

LOSS_BOUND = 1e-4
PEAK, WARMUP_STEPS, CLIP_NORM, DECAY = 1e-3, 4, 0.5, 0.2


def rate_of(step, steps):
    """Linear warm-up from zero, then a cosine that ends after twice the steps taken."""
    if step < WARMUP_STEPS:
        return PEAK * step / WARMUP_STEPS
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (2 * steps - WARMUP_STEPS)))


def decays(name, tensor):
    """open_clip's groups (`ndim < 2`, norms, biases and the temperature do not decay), and timm's for positions."""
    return tensor.ndim >= 2 and not name.endswith("positional_embedding")


def main(folder):
    folder = Path(folder)
    found = load_file(folder / "found.safetensors")
    weights, after = load_file(folder / "model.safetensors"), load_file(folder / "after.safetensors")
    model = open_clip_model((folder / "shape.txt").read_text().strip())
    if "visual.positional_embedding" not in weights:
        positions = model.visual.positional_embedding
        positions.data.zero_()
        positions.data[1:] = found["positions"]
    # Ours holds positions for the longest caption.
    tokens = len(model.positional_embedding)
    for tensors in (weights, after):
        tensors["positional_embedding"] = tensors["positional_embedding"][:tokens].clone()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"visual.positional_embedding"}, missing
    assert not unexpected, unexpected

    trained = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    assert {name for name, _ in trained} == set(weights), "the same tensors are trained"
    groups = [
        {"params": [tensor for name, tensor in trained if decays(name, tensor)], "weight_decay": DECAY},
        {"params": [tensor for name, tensor in trained if not decays(name, tensor)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95), eps=1e-6)
    steps, worst, clipped = len(found["losses"]), 0.0, 0
    for step in range(steps):
        rate = rate_of(step, steps)
        assert abs(rate - found["rates"][step].item()) < 1e-12, (rate, found["rates"][step])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = contrast(*model(found["pixels"][step], found["token_ids"][step]))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM).item()
        clipped += norm > CLIP_NORM
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        ours = found["losses"][step].item()
        relative = abs(ours - loss.item()) / abs(loss.item())
        worst = max(worst, relative)
        print(
            f"step {step}: loss {ours:.7f} and {loss.item():.7f} (relative {relative:.1e}); "
            f"gradient {found['norms'][step].item():.5f} and {norm:.5f}; rate {rate:.2e}"
        )
    apart = {name: (after[name] - tensor).norm() / (after[name] - weights[name]).norm() for name, tensor in trained}
    furthest = max(apart, key=apart.get)
    print(f"worst loss {worst:.1e} relative; {clipped} of {steps} steps clipped")
    print(f"weights after: {furthest} is furthest apart, by {apart[furthest]:.1e} of how far it moved")
    return 0 if worst <= LOSS_BOUND else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
