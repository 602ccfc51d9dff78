"""A byte-level BPE tokenizer small enough to commit, trained on the text below."""

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

_TEXT = """
A trireme has three banks of oars: many ranks, one stroke. The rowers on the lower bank sat close to the water, and the
rowers on the upper bank could see the helmsman. When the drum sounded, every oar entered the water at once; when one
oar was late, the whole ship felt it. A good crew could turn in its own length, and a tired crew could not turn at all.
The harbour was crowded in the morning. Merchants counted jars of oil, sailors mended sails, and children ran along the
wall to watch the ships come in. Some ships came from the islands with wool and honey, others from the north with grain
and timber. The harbour master wrote each name in a book, with the number of the berth and the hour of arrival.
What is the capital of the country? Where does the river begin? How many days does the journey take? Nobody answered,
because nobody had asked the question before. "I don't know," said the captain, "but we'll find out tomorrow."
Numbers such as 10, 128, 1024 and 65536 appear often in programs, and so do words such as token, layer, model, cache,
block, page, head and vector. A function takes arguments and returns a value; a loop repeats until its condition fails.
In the evening the wind turned to the west. The crew pulled the ship onto the sand, lit a fire and cooked their supper.
They told stories about storms and monsters, about cities under the sea and about the man who rowed around the world.
Das Schiff fuhr über das Meer. Où est la bibliothèque? El niño comió una manzana. Привет, мир. こんにちは世界。 你好，世界。
for (int i = 0; i < count; ++i) { sum += values[i] * weights[i]; }  // the sum of all products
"""

_LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                   r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def train_tokenizer(vocab_size, special_tokens, style, bos=None):
    """style: "gpt2" (ByteLevel's own split) or "llama3" (Split + ByteLevel); bos: put before every text."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    if style == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(tokenizers.Regex(_LLAMA3_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special_tokens, min_frequency=1,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(_TEXT.strip().split("\n"), trainer)
    assert tokenizer.get_vocab_size() == vocab_size, tokenizer.get_vocab_size()
    if bos:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                                          special_tokens=[(bos, tokenizer.token_to_id(bos))]),
        ])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer
