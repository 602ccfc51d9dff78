"""Texts on which tokenizers are compared: sentences of many languages, code, white space, emoji, marks, unassigned code
points, pieces of special tokens, long lines, and mixtures of all of them. The same for the same seed."""
import random

LANGUAGES = [
    "The rowers pulled at once, and the ship's bow turned; we'll see, they've said, I'm sure it isn't over. He'd go, SHE'LL STAY.",
    "Die Ruderer zogen gleichzeitig, und das Schiff drehte sich über die Strömung; Größe, Straße, Maß und Fuß.",
    "Les rameurs tirèrent ensemble, et l'équipage n'entendit que l'eau : où êtes-vous allé à Noël, garçon ? « Ici ! »",
    "Los remeros tiraron a la vez; ¿quién sabía adónde iba el niño? ¡Mañana será otro día, señor!",
    "I rematori tirarono insieme, perché la città è più lontana di quanto sembrasse; così andò.",
    "Os remadores puxaram ao mesmo tempo; não há ninguém na praia, e o coração da vila está vazio.",
    "De roeiers trokken tegelijk; 's avonds zagen ze één schip met geïnteresseerde reizigers.",
    "Wioślarze pociągnęli jednocześnie; żółta łódź zawróciła, a gęś zniknęła w trzcinie.",
    "Veslaři zabrali současně; příliš žluťoučký kůň úpěl ďábelské ódy u řeky.",
    "Kürekçiler aynı anda çekti; İstanbul'da ığdır ağacı ve şişe çok güzel göründü.",
    "Гребцы потянули одновременно, и корабль повернул; объём, ещё, съёмка. Привет, мир!",
    "Веслярі потягнули разом; їжак і ґанок стояли біля річки, об'єднані.",
    "Οι κωπηλάτες τράβηξαν μαζί· η θάλασσα ήταν ήσυχη, και ο ΟΔΥΣΣΕΑΣ γύρισε στο σπίτι του.",
    "החותרים משכו יחד, והספינה פנתה; שָׁלוֹם עוֹלָם, מה שלומך היום?",
    "سحب المجدفون معًا، فاستدارت السفينة؛ كيف حالُكَ اليوم؟ مرحبًا بالعالم ١٢٣٤.",
    "پاروزنان با هم کشیدند؛ می‌خواهم بروم، امّا هوا سرد است.",
    "नाविकों ने एक साथ चप्पू चलाए, और जहाज़ मुड़ गया; क्षत्रिय ज्ञान १२३ है।",
    "মাঝিরা একসঙ্গে দাঁড় টানল, আর জাহাজ ঘুরে গেল; কেমন আছো আজ?",
    "படகோட்டிகள் ஒன்றாக இழுத்தனர்; கப்பல் திரும்பியது, நன்றி வணக்கம்.",
    "ฝีพายพายพร้อมกัน เรือจึงหันกลับ สวัสดีครับ น้ำท่วมทุ่งผักบุ้งโหรงเหรง",
    "Các tay chèo kéo cùng lúc; con thuyền quay mũi, nước chảy xiết và trời đã tối rồi.",
    "水手们同时划桨，船转了方向；今天天气很好，一共有１２３４艘船。《你好，世界！》",
    "漕ぎ手たちは同時に漕ぎ、船は向きを変えた。カタカナ、ひらがな、漢字、ﾊﾝｶｸ、「引用」…です。",
    "노 젓는 사람들이 동시에 저었고 배가 방향을 바꾸었다. 안녕하세요, 세계! 값이 얼마예요?",
    "ቀዛፊዎቹ በአንድ ጊዜ ጎተቱ፤ መርከቡም ዞረ። ሰላም ለዓለም!",
    "ნიჩბოსნებმა ერთად მოსვეს; გემი შემობრუნდა. გამარჯობა, მსოფლიო!",
    "Թիավարները միասին քաշեցին. նավը շրջվեց։ Բարեւ, աշխարհ։",
    "སྐྱ་པ་རྣམས་ཀྱིས་མཉམ་དུ་འཐེན། གྲུ་ཕྱིར་འཁོར།",
    "လှော်သူများ တစ်ပြိုင်နက် ဆွဲကြသည်။ သင်္ဘော လှည့်သွားသည်။",
]
CODE = [
    "def turn(ship, angle=90):\n    \"\"\"Turns.\"\"\"\n    for oar in ship.oars:\n        oar.pull(angle % 360)\n    return {'ok': True, \"n\": [1, 2, 3]}\n",
    "int main(int argc, char** argv) {\n\tstd::vector<int> v{1, 2};\n\tfor (auto&& x : v) std::cout << x << '\\n';  // all\n\treturn 0;\n}\n",
    "SELECT name, COUNT(*) AS n FROM ships WHERE tons >= 100.5 AND flag <> 'XX' GROUP BY 1 HAVING n > 3;\n",
    "const f = async (a, ...b) => { await g(`x${a}`); return b?.map(x => x ** 2) ?? null; };\r\n",
    "<div class=\"a b\" id='c'><p>Hello &amp; <b>bye</b></p><!-- note --></div>\n",
    "#!/bin/sh\nset -eu\nfor f in *.txt; do echo \"$f: $(wc -l < \"$f\")\"; done | sort -k2,2n\n",
    "{\"name\": \"x\", \"values\": [1.5e-3, -2, true, null], \"nested\": {\"k\\u00e9y\": \"\\n\"}}",
    "\\begin{equation} E = mc^2 \\quad \\sum_{i=1}^{n} x_i \\leq \\frac{1}{2} \\end{equation}",
    "fn pull<'a>(o: &'a mut Oar) -> Result<(), Box<dyn Error>> { o.angle += 1_000; Ok(()) }\n",
    "| a | b |\n|---|---|\n| 1 | **2** |\n\n- item\n  - sub `code`\n\n> quote [link](https://example.org/a?b=c&d=1#e)\n",
]
SPACES = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", " \t \n\t", "\u00a0",
          "\u3000", "\u2003\u2009", "\u2028", "\u2029", "\u0085", "\u180e", "\u200b", "\ufeff", "\u1680", "\x0b\x0c", "\x1c\x1d", "        "]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☃︎", "🧑‍🚀", "#️⃣", "🫠", "🪿🫨", "👩🏿‍🤝‍👨🏻", "©®™", "✅❌"]
MARKS = ["e\u0301", "a\u0300\u0323", "n\u0303", "\u0301", "Å\u212b", "q\u0307\u0323", "\u0344", "ﬁﬂﬆ", "\u0958", "ก็", "\u05e9\u05c1", "각\u1100\u1161\u11a8",
         "\u1e9b\u0323", "o\u0302\u0301\u0302", "\u0e33", "\u200d\u200c", "ſ", "\u212a", "\u0130", "Σς", "\u093c\u094d", "\u302a", "\u3099が", "゛"]
ODD = ["\u0378", "\u0380", "\U000e0080", "\ufdd0", "\uffff", "\U0010ffff", "\ue000", "\U000f0000", "\u2fe0", "\u061d", "\U0001fae9", "\U00011f00", "\x00", "\x01\x02",
       "\x7f", "\x80\x9f", "\ufffd", "\u2065", "\u0890", "\U00016ff4", "\U00011de0", "\U0001e4d0", "\u20c0", "\ua7da", "\U00010ec2\U00010efd"]
NUMBERS = ["0", "7", "12", "123", "1234", "1234567890", "3.14159", "1,000,000", "0x1F", "1e-5", "²³¹", "½⅔", "٣٤٥", "१२३", "ⅷ", "②③", "一二三", "１２３", "𝟙𝟚", "$1.00", "€2,50", "100%"]
PUNCTUATION = ["!", "?!", "...", "…", "—", "--", "'s", "'S", "'ll", "’re", "''", "\"", "“”", "()", "[]", "{}", "<>", "/", "//", "\\", "_", "__", "@", "#", "&&", "||", "==", "->",
               "=>", "~", "^", "`", "```", "、。", "！？", "·", "•", "¿", "؟", "।", "$", "+", "=", "|", "№", "§", "′", "‽", "⟨⟩", ".\n\n", "!\n", ")\r\n", ";\n/"]
FRAGMENTS = ["<|", "|>", "<|im_", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|end", "</s>", "<s>", "<s", "[INST]", "[/INST]", "<unk>", "<think>", "</think>", "<tool_call>",
             "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜", "｜>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "[gMASK]", "<sop>",
             "<|user|>", "<|assistant|>", "<|fim_prefix|>", "<0x0A>", "<0x", "▁", "▁▁", "Ġ", "Ċ", "<image>", "<|vision_start|>", "[e~[", "]~b]", "<pad>"]


def long_lines():
    """Single lines of about a megabyte: one word, spaces, mixed, newlines only."""
    return ["ab" * 500_000, " " * 1_000_000 + "x", (LANGUAGES[0] + " ") * 8000, "".join(LANGUAGES) * 300, "=" * 1_000_000, "1234567890" * 100_000,
            "\n" * 1_000_000 + "a", "水" * 350_000, "a\u0301" * 200_000, "😀" * 250_000, " \n" * 300_000 + " a", "thing" * 200_000]


class Mixer:
    def __init__(self, seed, special):
        self.random = random.Random(seed)
        self.special = list(special) + FRAGMENTS

    def words(self):
        text = self.random.choice(LANGUAGES + CODE)
        begin = self.random.randrange(len(text))
        return text[begin : begin + self.random.randint(1, 40)]

    def code_points(self):
        top = self.random.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000])
        points = [self.random.randrange(top) for _ in range(self.random.randint(1, 6))]
        return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)

    def fragment(self):
        token = self.random.choice(self.special)
        kind = self.random.randrange(4)
        if kind == 0:
            return token[: self.random.randint(1, len(token))]
        if kind == 1:
            return token[self.random.randrange(len(token)) :]
        return token

    def part(self):
        kind = self.random.randrange(12)
        if kind < 4:
            return self.words()
        if kind == 4:
            return self.random.choice(SPACES) * self.random.choice([1, 1, 1, 2, 5])
        if kind == 5:
            return self.random.choice(EMOJI)
        if kind == 6:
            return self.random.choice("abcxyzABC") * self.random.randint(0, 2) + self.random.choice(MARKS)
        if kind == 7:
            return self.random.choice(ODD + NUMBERS)
        if kind == 8:
            return self.random.choice(PUNCTUATION) * self.random.choice([1, 1, 2])
        if kind == 9:
            return self.fragment()
        if kind == 10:
            return self.code_points()
        return self.random.choice([" ", "", "\n"]) + self.words().swapcase()

    def text(self):
        return "".join(self.part() for _ in range(self.random.randint(1, 9)))


def texts(count, special=(), seed=1):
    """`count` texts; the fixed ones first. `special`: contents of the tokenizer's added tokens."""
    fixed = [""] + LANGUAGES + CODE + SPACES + EMOJI + MARKS + ODD + NUMBERS + PUNCTUATION + FRAGMENTS + list(special)
    fixed += [" " + t for t in LANGUAGES] + [t + "\n" for t in PUNCTUATION] + ["a" + s + "b" for s in SPACES] + [s + "b" for s in SPACES]
    mixer = Mixer(seed, special)
    return (fixed + [mixer.text() for _ in range(max(0, count - len(fixed)))])[:count]
