"""Packs the language profiles of langdetect 1.0.9 into langdetect.gz. Usage: pack.py DIRECTORY_OF_THE_INSTALLED_PACKAGE

Before gzip, the file is: a line "code n1 n2 n3" for each language (how many n-grams of 1, 2 and 3 characters it was counted over),
an empty line, a line for each class of kanji that count as one, an empty line, and three runs of bytes:
  the n-grams in order, each as a byte 4 * (characters shared with the one before) + length, and the characters that are not shared;
  for each n-gram the number of its languages and their indices, a byte each;
  for each of these the frequency, in seven bits a byte, the lowest first, all but the last byte with the eighth bit set.
"""

import gzip
import json
import pathlib
import sys


def varint(n):
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


package = pathlib.Path(sys.argv[1])
profiles = [json.loads(path.read_text("utf-8")) for path in sorted((package / "profiles").iterdir())]
messages = (package / "utils/messages.properties").read_text().splitlines()
kanji = [line.partition("=")[2].encode().decode("unicode_escape") for line in messages if line.startswith("NGram.KANJI")]
header = [f"{p['name']} {' '.join(map(str, p['n_words']))}" for p in profiles] + ["", *kanji, "", ""]

table = {}
for index, profile in enumerate(profiles):
    for gram, frequency in profile["freq"].items():
        table.setdefault(gram, []).append((index, frequency))

grams, languages, frequencies, last = bytearray(), bytearray(), bytearray(), ""
for gram in sorted(table):
    shared = next((i for i, (a, b) in enumerate(zip(gram, last)) if a != b), min(len(gram), len(last)))
    grams += bytes([shared * 4 + len(gram)]) + gram[shared:].encode()
    languages += bytes([len(table[gram]), *(index for index, _ in table[gram])])
    frequencies += b"".join(varint(frequency) for _, frequency in table[gram])
    last = gram

content = "\n".join(header).encode() + varint(len(table)) + grams + languages + frequencies
target = pathlib.Path(__file__).with_name("langdetect.gz")
target.write_bytes(gzip.compress(content, 9, mtime=0))
