"""The shapes that speed is stated for."""

VOCABULARY = 49408

# patch, (image width, depth, head width), (text width, depth), image side, text tokens, batch
SHAPES = {
    "tiny": (8, (128, 4), (128, 3), 32, 16, 128),
    "a": (16, (384, 12), (384, 12), 64, 8, 128),
    "b": (16, (768, 12), (512, 12), 96, 16, 64),
    "c": (16, (768, 12), (512, 12), 224, 32, 16),
}
