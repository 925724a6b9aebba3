"""Our ids against open_clip's and, with bert-base-uncased, `transformers`', on 20,000 strings.

    pip install open_clip_torch==3.3.0 transformers
    cargo build --release -p shoestring-data --example tokens
    python tests/peers/tokenizers.py target/release/examples/tokens [TAR...]

Strings: the captions of the tars named, class names and templates of open_clip, and made ones (words of real
captions with entities, wrongly decoded text, emoji, control characters, every Unicode block). Python's
`unicodedata` decides what a code point is for the reference's cleaning; code points that it does not know
are in a run of their own, which is reported but does not count. Exit code 1: a difference.
"""

import html.entities
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
import zlib
from pathlib import Path

# This file has the name of a library that it uses.
sys.path.pop(0)
ASSETS = Path(__file__).parents[2] / "experiments/data/assets"
COUNT = 20_000


def real_captions(tars):
    captions = []
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    captions.append(tar.extractfile(member).read().decode())
    from open_clip import zero_shot_metadata as metadata

    names = metadata.IMAGENET_CLASSNAMES
    captions += [template(name) for template in metadata.OPENAI_IMAGENET_TEMPLATES for name in names[::7]]
    return list(dict.fromkeys(captions))


def blocks(known):
    """Strings of neighbouring code points, 24 at a time, through all of Unicode."""
    run = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        character = chr(code)
        assigned = unicodedata.category(character) not in ("Cn", "Co")
        if assigned == known:
            run.append(character)
        if len(run) == 24:
            yield "".join(run)
            run = []
    if run:
        yield "".join(run)


def strange(rng, captions):
    names = list(html.entities.html5)
    emoji = [chr(code) for code in range(0x1F300, 0x1FAFF) if unicodedata.name(chr(code), "")]
    encodings = ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso-8859-2", "cp437"]
    accented = "éèêàçñöüßøåœ–—“”‘’…€™°½×ЖжщЯαβγδ猫你好日本語한국어عربىעבריתไทย"
    kind = rng.randrange(10)
    caption = rng.choice(captions)
    words = caption.split() or ["a"]
    place = rng.randrange(len(words) + 1)
    if kind == 0:
        words.insert(place, "&" + rng.choice(names) * rng.choice([1, 1, 1, 2]))
    elif kind == 1:
        words.insert(place, rng.choice([f"&#{rng.randrange(70000)};", f"&#x{rng.randrange(0x120000):x}", "&amp;amp;quot;"]))
    elif kind in (2, 3, 4):
        text = "".join(rng.choice(accented) for _ in range(rng.randrange(1, 6)))
        for _ in range(rng.choice([1, 1, 2])):
            try:
                text = text.encode().decode(rng.choice(encodings), rng.choice(["strict", "replace"]))
            except UnicodeDecodeError:
                pass
        words.insert(place, text)
        if rng.random() < 0.3:
            words.insert(place, rng.choice(accented))
    elif kind == 5:
        words.insert(place, "".join(rng.choice(emoji) + rng.choice(["", "\u200d", "\ufe0f", "\U0001f3fd"]) for _ in range(3)))
    elif kind == 6:
        words.insert(place, chr(rng.randrange(0x20)) + chr(rng.randrange(0x7F, 0xA1)) + rng.choice(["\x1b[1;31m", "\r\n", "\x85"]))
    elif kind == 7:
        return "".join(chr(rng.randrange(0x20, 0x180)) for _ in range(rng.randrange(1, 30)))
    elif kind == 8:
        words = [rng.choice([word.upper(), word.title(), word + "'s", word + "n't", word + "'LL", f"{word}{rng.randrange(999)}"]) for word in words]
    else:
        words = [rng.choice(["", " ", "\u3000", "\u00a0", "<br>"]) + word for word in words]
        words.append(rng.choice(["<end_of_text>", "[MASK]", "[SEP]x", "ﬁne ﬂuﬀ", "ＷＩＤＥ", "e\u0301\u0323", "ΌΣΟΣ ΣΑΣ", "İI"]))
    return " ".join(words)


def ours(program, kind, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    found = subprocess.run([program, kind], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in found.stdout.decode().splitlines()]


def compare(name, texts, reference, program, kind):
    differ = [
        (text, expected, found)
        for text, expected, found in zip(texts, map(reference, texts), ours(program, kind, texts), strict=True)
        if expected != found
    ]
    print(f"{name}: {len(differ)} of {len(texts)} differ")
    for text, expected, found in differ[:5]:
        print(f"  {text!r}\n    reference {expected}\n    ours      {found}")
    return len(differ)


def main():
    program, tars = sys.argv[1], sys.argv[2:]
    rng = random.Random(6)
    captions = real_captions(tars)
    rng.shuffle(captions)
    texts = captions[: COUNT // 3] + list(blocks(known=True))
    texts = texts[: COUNT * 2 // 3] if len(texts) > COUNT else texts
    print(f"{min(len(captions), COUNT // 3)} captions, {len(texts) - min(len(captions), COUNT // 3)} of Unicode's blocks")
    from open_clip.tokenizer import get_clean_fn

    # What a made string becomes when it is cleaned must be of known code points, too.
    clean = get_clean_fn("whitespace")
    while len(texts) < COUNT:
        text = strange(rng, captions)
        if not any(unicodedata.category(character) == "Cn" for character in clean(text).lower()):
            texts.append(text)

    import open_clip
    from transformers import BertTokenizer

    clip = open_clip.get_tokenizer("ViT-B-32")
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_bytes(zlib.decompress((ASSETS / "bert_base_uncased.txt.deflate").read_bytes(), -15))
        pieces = BertTokenizer(vocab=str(vocabulary), do_lower_case=True)

    def bert(text):
        return pieces(clean(text), add_special_tokens=False)["input_ids"]

    wrong = compare("CLIP byte pairs", texts, clip.encode, program, "clip")
    wrong += compare("BERT word pieces", texts, bert, program, "bert")
    unknown = [text for text in blocks(known=False) if not 0xE000 <= ord(text[0]) < 0xF900][:2000]
    print(f"Code points that Unicode {unicodedata.unidata_version} does not know (not counted):")
    compare("CLIP byte pairs", unknown, clip.encode, program, "clip")
    compare("BERT word pieces", unknown, bert, program, "bert")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
