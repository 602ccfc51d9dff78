#!/usr/bin/env python3
"""Prints what benchmarks/text/tokenizer_bench prints, for PyPI's `tokenizers`.

    pip install tokenizers
    python benchmarks/text/tokenizer_bench.py FILE.json TEXT [SECONDS]
    python benchmarks/text/tokenizer_bench.py --make-text TEXT     writes the text that results/ speaks of
"""
import os
import pathlib
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parents[2]


def make_text(path):
    """4 MB: English, code, 20 other languages; words differ enough that no cache holds them all."""
    sys.path.insert(0, str(ROOT / "scripts" / "goldens"))
    import random

    from tokenizer_texts import CODE, LANGUAGES

    english = (ROOT / "docs" / "design.md").read_text() + (ROOT / "README.md").read_text()
    words, parts, size, generator = english.split(), [], 0, random.Random(1)
    while size < 4_000_000:
        kind = generator.randrange(20)
        if kind < 13:
            part = " ".join(generator.choices(words, k=generator.randint(5, 60))) + generator.choice([". ", ".\n", "\n\n"])
        elif kind < 15:
            part = f" {generator.randrange(10**6)} {generator.random():.3f}, "
        elif kind < 18:
            part = generator.choice(CODE)
        else:
            part = generator.choice(LANGUAGES) + "\n"
        parts.append(part)
        size += len(part.encode())
    pathlib.Path(path).write_text("".join(parts))


def measure(size, seconds, run):
    start, best = time.process_time(), 1e9
    while True:
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
        if time.process_time() - start > seconds:
            return size / 1e6 / best


def main():
    if sys.argv[1] == "--make-text":
        return make_text(sys.argv[2])
    from tokenizers import Tokenizer

    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 2
    text = pathlib.Path(sys.argv[2]).read_bytes().decode()
    start = time.process_time()
    tokenizer = Tokenizer.from_file(sys.argv[1])
    print(f"load         {(time.process_time() - start) * 1e3:8.1f} ms")
    size = len(text.encode())
    print(f"encode       {measure(size, seconds, lambda: tokenizer.encode(text)):8.1f} MB/s")
    prompt = text[: text.find("\n", 2000)]
    print(f"encode prompt{measure(len(prompt.encode()), seconds, lambda: tokenizer.encode(prompt)):8.1f} MB/s")
    ids = tokenizer.encode(text).ids
    print(f"decode       {measure(size, seconds, lambda: tokenizer.decode(ids)):8.1f} MB/s")


if __name__ == "__main__":
    main()
