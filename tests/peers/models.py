"""The shapes that speed is stated for, as open_clip models and as a plain PyTorch model.

Both compute what shoestring computes: average-pooled pre-norm ViT without a norm before the first block and
with fixed positions, causal text tower, exact GELU, symmetric InfoNCE with a learned temperature.
"""

import math

import torch
import torch.nn.functional as F
from shapes import SHAPES, VOCABULARY
from torch import nn


def open_clip_model(name):
    """open_clip's own model class, its initial values included; `attention` is `tiny` with learned positions and
    attention pooling."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    attention = name == "attention"
    patch, (width, depth), (text_width, text_depth), side, tokens, _ = SHAPES["tiny" if attention else name]
    pooling = {"pool_type": "avg", "final_ln_after_pool": True, "pos_embed_type": "sin_cos_2d"}
    if attention:
        pooling = {
            "pool_type": "tok", "attentional_pool": True, "attn_pooler_queries": 1, "attn_pooler_heads": 8,
            "pos_embed_type": "learnable",
        }
    vision = CLIPVisionCfg(
        layers=depth, width=width, head_width=64, patch_size=patch, image_size=side, no_ln_pre=True, **pooling,
    )
    text = CLIPTextCfg(
        context_length=tokens, vocab_size=VOCABULARY, width=text_width, heads=text_width // 64, layers=text_depth,
    )
    return CLIP(embed_dim=text_width, vision_cfg=vision, text_cfg=text)


class Block(nn.Module):
    """One pre-norm block with PyTorch's fused attention."""

    def __init__(self, width, causal):
        super().__init__()
        self.heads, self.causal = width // 64, causal
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.ln_1(x)).view(batch, tokens, 3, self.heads, 64).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x))))


class Plain(nn.Module):
    """Both towers with nothing in them that is not needed: PyTorch's best case."""

    def __init__(self, name):
        super().__init__()
        patch, (width, depth), (text_width, text_depth), side, tokens, _ = SHAPES[name]
        self.conv = nn.Conv2d(3, width, patch, patch, bias=False)
        self.register_buffer("positions", torch.randn((side // patch) ** 2, width) * 0.02)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.image_blocks = nn.Sequential(*[Block(width, False) for _ in range(depth)])
        self.ln_post = nn.LayerNorm(width)
        self.image_projection = nn.Parameter(torch.randn(width, text_width) * width**-0.5)
        self.tokens = nn.Embedding(VOCABULARY, text_width)
        self.text_positions = nn.Parameter(torch.randn(tokens, text_width) * 0.01)
        self.text_blocks = nn.Sequential(*[Block(text_width, True) for _ in range(text_depth)])
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, text_width) * text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, pixels, ids):
        x = self.conv(pixels).flatten(2).transpose(1, 2) + self.positions
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
        x = self.ln_post(self.image_blocks(x)[:, 1:].mean(1)) @ self.image_projection
        y = self.text_blocks(self.tokens(ids) + self.text_positions)
        y = self.ln_final(y[:, -1]) @ self.text_projection
        return F.normalize(x, dim=-1), F.normalize(y, dim=-1), self.logit_scale.exp()


def contrast(image, text, scale):
    """Symmetric InfoNCE."""
    logits = scale * image.float() @ text.float().t()
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2
