#!/usr/bin/env python3
"""Writes tests/text/golden: small byte-level BPE tokenizers with what `tokenizers` makes of many texts, SmolLM2's
ids, and chat templates rendered as Transformers renders them.

    pip install tokenizers transformers jinja2 gguf sentencepiece
    python scripts/goldens/make_text_goldens.py [--smollm2 SmolLM2-135M-Instruct.Q4_1.gguf]
"""
import argparse
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import chat_template_cases  # noqa: E402
from tokenizer_texts import Mixer, texts as comparison_texts  # noqa: E402
from tokenizer_variants import variants  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "text" / "golden"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
UNKNOWN = r"(?:\p{Lu}\p{Ll})+|(?<=\p{L})[\p{Ll}\p{M}]+|\p{N}{1,2}|[^\s\p{L}\p{N}]+|\s+$|\s+"  # only PCRE2 can

TRAINING_TEXT = """
The quick brown fox jumps over the lazy dog. A ship with three banks of oars moves when all the rowers pull in the
same stroke; the oarsmen listen to the pipe and nobody speaks. In the morning the harbour is quiet, and the water is
flat. We'll see what they've done, I'm sure it's fine, don't you think? He said she'd come, and that they're late.
def main(argument, count=10):
    for index in range(count):
        if index % 2 == 0:
            print("even", index)
    return {"key": [1, 2, 3], "value": 3.14159, "none": None}
int main(void) { return 0; }  // a comment    with   spaces
Numbers: 1 12 123 1234 12345 2024 1999 3.5 100,000 0x1F 1e-5 and the year 2025, the years 1066 and 1492.
Der Fluß fließt über die Straße, während fünf Größen geändert würden. Où êtes-vous allé à Noël, garçon ?
Привет, мир! Как дела сегодня? Это очень хороший день. 你好，世界！今天天气很好。これは日本語の文章です。
한국어 문장도 있습니다. مرحبا بالعالم كيف حالك اليوم שלום עולם 😀😀🎉👍🏽 — “quotes” … ‘single’
the then there these they this those though through thought three threw thin thing think third thirty
ing ring sing king string spring bring thing being seeing going doing having making taking giving
\tindented\twith\ttabs\n\n\nblank lines\n\r\nwindows lines\r\n
<div class="content"><p>Hello, <b>world</b>!</p></div> https://example.org/path?query=value&other=1#fragment
""" * 2

HAND_WRITTEN = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \n ", "  \n\n  \n", "a", " a", "a ", "  a", "a  b", "a   b",
    "Hello, world!", "hello world", "HELLO WORLD", " leading", "trailing ", "tab\tbetween", "a\n\nb", "a \n b", "a\r\nb\r\n",
    "line one\nline two\n\n\nline five   \n   indented", "\u00a0nbsp\u00a0\u00a0x", "x\u3000y\u3000\u3000z", "a\u2028b\u2029c",
    "a\u0085b", "a\u180eb \u180e c", "\u200bzero\u200bwidth\u200d\ufeff", "a\u001cb\u001fc", "a\x00b", "\x7f\x80\x9f",
    "I'm we're they've you'll he'd she's can't", "I'M WE'RE THEY'VE YOU'LL HE'D SHE'S CAN'T", "'s't're've'm'll'd", "'S'T'RE'x'",
    "'\u017f long s", "don\u2019t curly", "''s", "x'sy", "'l 'r 'v", "rock'n'roll", "o'clock's",
    "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000", "a1b2c3", " 1 22 333 4444", "٣٤٥ ४५६ ②③ ⅷ ½ 一二三",
    "v1.2.3-rc4", "2024-01-31T23:59:59Z", "+49 (0)30 123456", "$1.00 €2,50 £3", "100%", "1e-5 0x1F 0b101", "²³¹", "x² + y² = z²",
    "你好，世界！", "今天天气很好", "日本語の文章です。", "カタカナ ひらがな 漢字", "한국어 문장", "你好world你好", "ภาษาไทย ไม่มีเว้นวรรค",
    "Привет, мир!", "Ελληνικά ΣΑΣ", "שלום עולם", "مرحبا بالعالم", "\u202bRTL\u202c mark", "हिन्दी में पाठ", "தமிழ்", "አማርኛ",
    "é", "e\u0301", "n\u0303o \u00f1o", "a\u0300\u0301\u0302\u0303", "\u0301start", "Å \u212b A\u030a", "ﬁ ﬂ ſt", "Ǆ ǅ ǆ", "ﷺ", "가 \u1100\u1161 각\u11a8",
    "\u1e9b\u0323 \u0344 \u0958 \u2126", "q\u0307\u0323 q\u0323\u0307",
    "😀", "😀😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "a😀b", " 😀 ", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☃︎ text", "\U0001f9d1\u200d\U0001f680 astronaut",
    "Fluß Straße Größe", "Où êtes-vous, garçon ?", "naïve café résumé", "İstanbul ı", "Ærøskøbing", "Łódź żółć",
    "snake_case camelCase PascalCase kebab-case", "__init__", "a_b", "foo.bar(baz)[0]", "if (x>=10&&y<=20||!z) {", "/* c */ // d",
    "    indented by four", "\tindented\n\t\ttwice", "def f(x):\n    return x + 1\n", "{\"a\": [1, 2, {\"b\": null}]}", "<div class=\"x\">y</div>",
    "https://example.org/path?q=1&r=2#frag", "user@example.com", "C:\\Users\\x", "~/.bashrc", "a/b\\c", "$HOME ${x} `cmd`", "#!/bin/sh",
    "...", "!!!", "?!?!", "---", "===", "***", "—–-", "“quoted” ‘single’ „low“ «guillemets»", "…", "• bullet", "(a)(b)[c]{d}<e>",
    "!\n", "!\n\n", "! \n", "!\r\n", ".\n\n.\n", " !\n a", ")\n\n(", "a!\n\n\nb", "\n!", "\n\n!\n", "…\n…",
    "a\tb\t\tc", "\t a", " \ta", "\t\ta", "a \t b", "  \t  x", "x \u00a0 y", "\u00a0a", "\u3000あ",
    "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|im_start|",
    "<|im_start|>system\nYou are.<|im_end|>\n<|im_start|>user\nWhat is <|x|>?<|im_end|>\n<|im_start|>assistant\n", "<|ENDOFTEXT|>",
    "word MASK word", "MASKword", "wordMASK", "  MASK  ", "\n MASK \n", "MASK MASK", "[SEP] [SEP][SEP]", "x[SEP]y", " [SEP] y", "[SEP",
    "[SEPARATOR]", "[SEPARATO", "<longest><longest>er>", "<longest>er", "<long", "café<é>x", "cafe<e\u0301>x",
    "a" * 40, "ab" * 50, " " * 100, "\n" * 50, "the" * 30, "thethinkingstringbeing" * 10, "x" * 33 + "the" * 20, "9" * 50, "!" * 60, "é" * 40, "😀" * 20,
    "The quick brown fox jumps over the lazy dog. " * 4, "there these they this those though through thought three threw",
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789", "".join(map(chr, range(32, 127))), "".join(map(chr, range(0xa0, 0x180))),
    "Ġ Ċ ĉ literal alphabet", "ÃÂ mojibake", "\ufffd replacement", "\U0010ffff last", "\ue000 private", "\ufdd0 noncharacter",
]


def random_texts(count):
    generator = random.Random(7)
    alphabets = ["abcdefgh THE the ing 's", " \n\t\r\u00a0\u3000", "0123456789 ½²", "äöüßéñçøΣσς", "你好世界のはか한국", "😀👍🏽\u200d❤️🇩", "!?.,;:-_(){}[]<>|'\"/\\",
                 "e\u0301a\u0308\u0323o\u0302", "\u05d0\u05d1\u0627\u0628\u064b", "\u0e01\u0e34\u0939\u093f"]
    texts = []
    for _ in range(count):
        parts = generator.choices(alphabets, k=generator.randint(1, 4))
        texts.append("".join(generator.choice("".join(parts)) for _ in range(generator.randint(1, 40))))
    return texts


def bare_tokenizer(pattern, size):
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = byte_level if pattern is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([TRAINING_TEXT], trainer)
    return tokenizer


def gpt2_tokenizer():
    tokenizer = bare_tokenizer(None, 1200)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def llama3_tokenizer():
    trained = json.loads(bare_tokenizer(LLAMA3, 1300).to_str())
    # A token that merging cannot reach shows what ignore_merges does.
    trained["model"]["ignore_merges"] = True
    trained["model"]["vocab"]["thethe"] = len(trained["model"]["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(trained))
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B",
                                      special_tokens=[("<|begin_of_text|>", begin)])])
    return tokenizer


def variant(base, **parts):
    tokenizer = Tokenizer.from_str(base.to_str())
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def added_token_variant(base):
    tokenizer = variant(base, pre_tokenizer=pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.ByteLevel(add_prefix_space=True)]),
        normalizer=normalizers.NFC())
    tokenizer.add_tokens([
        AddedToken("MASK", lstrip=True, rstrip=False, single_word=True, normalized=False),
        AddedToken("[SEP]", lstrip=False, rstrip=True, normalized=False),
        AddedToken("[SEPARATOR]", normalized=False), AddedToken("<longest>", normalized=False),
        AddedToken("<longest>er", normalized=False), AddedToken("<\u00e9>", normalized=True)])
    tokenizer.add_special_tokens([AddedToken("<|pad|>", normalized=False)])
    end = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|endoftext|>", pair="$A $B",
        special_tokens=[("<|im_start|>", tokenizer.token_to_id("<|im_start|>")), ("<|endoftext|>", end)])
    return tokenizer


def split_variant(base, pattern, behavior, invert=False):
    return variant(base, pre_tokenizer=pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))


def encode_cases(tokenizer, texts):
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        case = {"text": text, "ids": ids}
        full = tokenizer.encode(text, add_special_tokens=True).ids
        if full != ids:
            case["ids_with_special"] = full
        if "<|" in text:
            tokenizer.encode_special_tokens = True
            case["ids_unparsed"] = tokenizer.encode(text, add_special_tokens=False).ids
            tokenizer.encode_special_tokens = False
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        if decoded != text:
            case["decoded"] = decoded
        cases.append(case)
    return cases


def decode_cases(tokenizer, count):
    """Random ids: half characters, broken UTF-8, special tokens in between."""
    generator = random.Random(11)
    size = tokenizer.get_vocab_size()
    cases = []
    for _ in range(count):
        top = generator.choice([256, size])
        ids = [generator.randrange(top) for _ in range(generator.randint(1, 12))]
        ids += generator.choices(range(size - 4, size), k=1)
        generator.shuffle(ids)
        cases.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True),
                      "with_special": tokenizer.decode(ids, skip_special_tokens=False)})
    return cases


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")


def write_tokenizers():
    gpt2, llama3 = gpt2_tokenizer(), llama3_tokenizer()
    for name, tokenizer in (("gpt2", gpt2), ("llama3", llama3)):
        content = json.loads(tokenizer.to_str())
        if name == "gpt2":  # the older spelling of merges
            content["model"]["merges"] = [" ".join(m) for m in content["model"]["merges"]]
        write_json(GOLDEN / name / "tokenizer.json", content)
    texts = HAND_WRITTEN + random_texts(120)
    few = HAND_WRITTEN[::3]
    variants = [
        ("gpt2", "gpt2", gpt2, texts), ("llama3", "llama3", llama3, texts),
        ("qwen2", "gpt2", variant(split_variant(gpt2, Regex(QWEN2), "isolated"), normalizer=normalizers.Sequence([normalizers.NFC()])), texts),
        ("digits", "gpt2", variant(gpt2, pre_tokenizer=pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])), texts),
        ("added", "gpt2", added_token_variant(gpt2), HAND_WRITTEN),
        ("pcre2", "gpt2", split_variant(gpt2, Regex(UNKNOWN), "isolated"), texts),
    ]
    for behavior in ("removed", "merged_with_previous", "merged_with_next", "contiguous"):
        variants.append((behavior, "gpt2", split_variant(gpt2, " ", behavior), few))
    variants.append(("inverted", "gpt2", split_variant(gpt2, Regex(LLAMA3), "removed", True), few))
    out = []
    for name, model, tokenizer, these in variants:
        parts = json.loads(tokenizer.to_str())
        wrapper = {k: parts[k] for k in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")}
        out.append({"name": name, "model": model, "parts": wrapper, "encode": encode_cases(tokenizer, these),
                    "decode": decode_cases(tokenizer, 40)})
    write_json(GOLDEN / "tokenizer_goldens.json", out)


def variant_case(name, tokenizer, models_by_text, texts):
    content = json.loads(tokenizer.to_str())
    model = json.dumps(content["model"], sort_keys=True)
    models_by_text.setdefault(model, f"model{len(models_by_text)}")
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    full = [tokenizer.encode(text).ids for text in texts]
    generator = random.Random(name)
    size = tokenizer.get_vocab_size()
    noise = [[generator.randrange(generator.choice([300, size])) for _ in range(generator.randint(1, 12))] for _ in range(6)]
    case = {"name": name, "model": models_by_text[model], "ids": plain, "noise": noise, "noise_decoded": [[tokenizer.decode(ids, False), tokenizer.decode(ids, True)] for ids in noise],
            "parts": {k: content[k] for k in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")}}
    if full != plain:
        case["full"] = full
    if not name.startswith(("pre_", "expression_", "norm_")):  # the decoder is not what these are about
        case["decoded"] = [tokenizer.decode(ids, False) for ids in full]
    return case


def write_variants():
    mixer = Mixer(5, ["<|im_end|>", "MASK", "[SEP]", "<s>"])
    texts = comparison_texts(300)[1:30:5] + comparison_texts(300)[30:300:16] + [mixer.text() for _ in range(12)]
    models_by_text = {}
    cases = [variant_case(name, tokenizer, models_by_text, texts) for name, tokenizer in variants()]
    write_json(GOLDEN / "variant_goldens.json", {"texts": texts, "cases": cases, "models": {name: json.loads(model) for model, name in models_by_text.items()}})


def sentencepiece_case(prefix):
    """A SentencePiece BPE model as GGUF's "llama" fields hold it, and the library's own ids."""
    import io

    import sentencepiece

    from tokenizer_texts import CODE, LANGUAGES

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in (LANGUAGES + CODE) * 2 for line in text.split("\n") if line]), model_writer=model, model_type="bpe",
        vocab_size=1100, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
        character_coverage=0.98, user_defined_symbols=["<tool>"], control_symbols=["<turn>"], minloglevel=2, num_threads=1)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    count = processor.get_piece_size()
    kinds = [6 if processor.is_byte(i) else 2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 4 if processor.id_to_piece(i) == "<tool>" else 1
             for i in range(count)]
    texts = [t for t in comparison_texts(300)[1:300:6] + random_texts(20) if "\x00" not in t and (not prefix or "<tool>" not in t)]
    return {"prefix": prefix, "tokens": [processor.id_to_piece(i) for i in range(count)], "scores": [processor.get_score(i) for i in range(count)],
            "types": kinds, "encode": [{"text": t, "ids": processor.encode(t), "decoded": processor.decode(processor.encode(t))} for t in texts]}


def write_sentencepiece():
    write_json(GOLDEN / "sentencepiece_goldens.json", [sentencepiece_case(True), sentencepiece_case(False)])


def write_smollm2(path):
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    value = {key.removeprefix("tokenizer."): fields[key].contents() for key in fields if key.startswith("tokenizer.")}
    tokens = value["ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in value["ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, value["ggml.token_type"]) if kind == 3])
    texts = HAND_WRITTEN + random_texts(80)
    cases = encode_cases(tokenizer, texts)
    write_json(GOLDEN / "smollm2_goldens.json", {"encode": cases, "decode": decode_cases(tokenizer, 40)})
    (GOLDEN / "templates").mkdir(parents=True, exist_ok=True)
    (GOLDEN / "templates" / "smollm2.jinja").write_text(value["chat_template"])
    return value, tokenizer


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--smollm2", help="the GGUF file; without it SmolLM2's goldens stay as they are")
    options = arguments.parse_args()
    write_tokenizers()
    write_variants()
    write_sentencepiece()
    if options.smollm2:
        write_smollm2(options.smollm2)
    write_json(GOLDEN / "chat_template_goldens.json", chat_template_cases.render_all(GOLDEN / "templates"))


if __name__ == "__main__":
    main()
