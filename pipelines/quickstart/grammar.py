"""The little world of the quickstart: topics, constraints with their checks, and answers composed to satisfy them.

Every constraint type has an exact complement, so an answer can be composed for any combination of polarities.
Checks mirror the product's verifiers, and every composed answer is checked before it is used.
"""

import re
from dataclasses import dataclass

# phrase: (plural, adjectives, things to be seen, places)
TOPICS = {
    "the forest": (False, ["green", "deep", "cool", "still"], ["trees", "birds", "paths"], ["under the trees", "on the hill"]),
    "bread": (False, ["warm", "soft", "fresh", "simple"], ["loaves", "rolls"], ["in the kitchen", "at the bakery"]),
    "old trains": (True, ["slow", "loud", "heavy", "fun"], ["wagons", "tickets"], ["at the station", "in the valley"]),
    "the sea": (False, ["wide", "blue", "wild", "deep"], ["waves", "boats", "shells"], ["on the beach", "at the harbor"]),
    "coffee": (False, ["dark", "strong", "hot", "rich"], ["cups", "beans"], ["in the kitchen", "at the market"]),
    "gardens": (True, ["green", "bright", "small", "fresh"], ["flowers", "seeds"], ["behind the house", "in the village"]),
    "music": (False, ["soft", "bright", "gentle", "loud"], ["songs", "drums"], ["in the hall", "on the square"]),
    "books": (True, ["long", "clever", "old", "fun"], ["stories", "pages"], ["in the library", "on the table"]),
    "the moon": (False, ["bright", "pale", "round", "still"], ["stars", "clouds"], ["in the sky", "above the hill"]),
    "cats": (True, ["soft", "clever", "lazy", "gentle"], ["kittens", "toys"], ["on the table", "behind the house"]),
    "winter": (False, ["cold", "white", "long", "calm"], ["storms", "coats"], ["in the mountains", "in the village"]),
    "soup": (False, ["hot", "thick", "simple", "rich"], ["bowls", "carrots"], ["in the kitchen", "at the market"]),
    "painting": (False, ["slow", "calm", "bold", "fun"], ["brushes", "colors"], ["in the studio", "in the park"]),
    "bicycles": (True, ["fast", "light", "simple", "fun"], ["wheels", "bells"], ["in the city", "on the road"]),
    "the city": (False, ["loud", "busy", "bright", "modern"], ["streets", "lights"], ["at the station", "on the square"]),
    "bees": (True, ["busy", "small", "clever", "gentle"], ["flowers", "hives"], ["in the garden", "on the hill"]),
    "chess": (False, ["slow", "clever", "hard", "fair"], ["games", "pieces"], ["in the park", "in the library"]),
    "mountains": (True, ["high", "cold", "steep", "wild"], ["rocks", "paths"], ["above the valley", "in the north"]),
    "the market": (False, ["busy", "cheap", "lively", "loud"], ["stalls", "apples"], ["on the square", "in the village"]),
    "tea": (False, ["warm", "light", "sweet", "mild"], ["cups", "leaves"], ["in the kitchen", "in the garden"]),
}

FIRST_QUERIES = [
    "What do you know about {t}?",
    "Tell me something about {t}.",
    "What can you say about {t}?",
    "I would like to hear about {t}.",
    "Please talk to me about {t}.",
    "What do you think of {t}?",
    "Can you tell me about {t}?",
    "Hello, what do you think about {t}?",
]
LATER_QUERIES = [
    "And what about {t}?",
    "And {t}?",
    "Now tell me about {t}.",
    "What do you think of {t}?",
    "Thank you. What about {t}?",
    "I also like {t}.",
    "Let us talk about {t}.",
    "What else do you know about {t}?",
]

BEGIN_WORDS = ["Well", "Today", "Now", "Honestly"]
END_PHRASES = ["that is all", "as you know", "for now", "you will see"]
CONTAINED = {
    "friend": ["with a friend", "with an old friend"],
    "morning": ["in the morning", "every morning"],
    "time": ["all the time", "for a long time"],
    "home": ["at home", "near my home"],
}
WHEN = ["in summer", "every day", "after work", "all year", "once a week", "in the evening", "when it rains", "for a while"]
COUNTED_WHEN = ["for {n} hours", "after {n} days", "at {n}"]
INTROS = ["to be honest", "as for me", "in summer", "every day", "for me"]

TYPES = ["words", "sentences", "lower_case", "begins_with", "ends_with", "contains", "comma", "digit", "exclamation", "question"]


@dataclass(frozen=True)
class Constraint:
    """One demand: its type, its argument (a number, word or phrase), and whether the feature is wanted."""

    kind: str
    arg: object
    wanted: bool

    def reversed(self):
        return Constraint(self.kind, self.arg, not self.wanted)

    def text(self, wording=0):
        """The demand in words; wording 0 is the canonical one."""
        arg, n = self.arg, self.arg if self.wanted else (self.arg - 1 if isinstance(self.arg, int) else None)
        sentences = "sentence" if n == 1 else "sentences"
        yes, no = {
            "words": ((f"Write at least {n} words.", f"Give an answer of {n} or more words."), (f"Write at most {n} words.", f"Give an answer of no more than {n} words.")),
            "sentences": ((f"Write at least {n} sentences.", f"Answer in {n} or more sentences."), (f"Write at most {n} {sentences}.", f"Answer in no more than {n} {sentences}.")),
            "lower_case": (("Write only in lower case.", "Never use capital letters."), ("Use at least one capital letter.", "Capital letters must appear.")),
            "begins_with": ((f'Begin with the word "{arg}".', f'Your first word must be "{arg}".'), (f'Do not begin with the word "{arg}".', f'Your first word must not be "{arg}".')),
            "ends_with": ((f'End with the words "{arg}".', f'Your last words must be "{arg}".'), (f'Do not end with the words "{arg}".', f'Your last words must not be "{arg}".')),
            "contains": ((f'Use the word "{arg}".', f'The word "{arg}" must appear.'), (f'Do not use the word "{arg}".', f'The word "{arg}" must not appear.')),
            "comma": (("Use at least one comma.", "A comma must appear."), ("Do not use any commas.", "Commas must not appear.")),
            "digit": (("Use at least one digit.", "A digit must appear."), ("Do not use any digits.", "Digits must not appear.")),
            "exclamation": (("Use at least one exclamation mark.", "An exclamation mark must appear."), ("Do not use any exclamation marks.", "Exclamation marks must not appear.")),
            "question": (("Ask at least one question.", "A question must appear."), ("Do not ask any questions.", "Questions must not appear.")),
        }[self.kind]
        return (yes if self.wanted else no)[wording]

    def json(self):
        """The check as the product's verifiers read it."""
        if self.kind in ("words", "sentences"):
            return {"type": self.kind, "at_least": self.arg} if self.wanted else {"type": self.kind, "at_most": self.arg - 1}
        key = {"begins_with": "word", "ends_with": "phrase", "contains": "word"}.get(self.kind)
        check = {"type": self.kind} | ({key: self.arg} if key else {})
        return check if self.wanted else check | {"negated": True}

    def check(self, answer):
        return feature(self.kind, self.arg, answer) == self.wanted


def feature(kind, arg, y):
    """Whether answer `y` has the feature, before polarity."""
    words = re.findall(r"\w+", y)
    return {
        "words": lambda: len(words) >= arg,
        "sentences": lambda: len(re.findall(r"[.!?]+(?:\s|$)", y)) >= arg,
        "lower_case": lambda: y == y.lower(),
        "begins_with": lambda: bool(words) and words[0].lower() == arg.lower(),
        "ends_with": lambda: y.rstrip(" .!?\"'").lower().endswith(arg.lower()),
        "contains": lambda: re.search(rf"\b{arg}\b", y, re.I) is not None,
        "comma": lambda: "," in y,
        "digit": lambda: re.search(r"\d", y) is not None,
        "exclamation": lambda: "!" in y,
        "question": lambda: "?" in y,
    }[kind]()


def sample_constraints(rng, k):
    """k demands of different types, each polarity equally likely, in random order."""
    args = {"words": [9, 13, 17], "sentences": [2, 3, 4], "begins_with": BEGIN_WORDS, "ends_with": END_PHRASES, "contains": list(CONTAINED)}
    while True:
        found = [Constraint(kind, rng.choice(args.get(kind, [None])), rng.random() < 0.5) for kind in rng.sample(TYPES, k)]
        if not crowded(found):
            return found


def crowded(constraints):
    """Many sentences in few words: possible, but no answer of that kind reads well."""
    by = {c.kind: c for c in constraints}
    words, sentences = by.get("words"), by.get("sentences")
    return bool(words and sentences and not words.wanted and sentences.wanted and words.arg - 1 < 4 * sentences.arg)


def plan(rng, constraints):
    """What the answer shall be: the demands, and a draw from the usual habits for everything they leave open."""
    p = {"words": (2, 26), "sentences": (1, 5), "begin": None, "end": None, "holds": None, "ban": set()}
    p |= {"lower_case": rng.random() < 0.25, "comma": rng.random() < 0.5, "digit": rng.random() < 0.35}
    p |= {"exclamation": rng.random() < 0.35, "question": rng.random() < 0.35}
    p["begin"] = rng.choice(BEGIN_WORDS) if rng.random() < 0.35 else None
    p["end"] = rng.choice(END_PHRASES) if rng.random() < 0.35 else None
    p["holds"] = rng.choice(list(CONTAINED)) if rng.random() < 0.4 else None
    for c in constraints:
        if c.kind in ("words", "sentences"):
            lo, hi = p[c.kind]
            p[c.kind] = (c.arg, hi) if c.wanted else (lo, c.arg - 1)
        elif c.kind in ("begins_with", "ends_with", "contains"):
            slot = {"begins_with": "begin", "ends_with": "end", "contains": "holds"}[c.kind]
            if c.wanted:
                p[slot] = c.arg
            elif p[slot] == c.arg:
                p[slot] = None
            if c.kind == "contains" and not c.wanted:
                p["ban"] = {c.arg}
        else:
            p[c.kind] = c.wanted
    return p


def sizes(rng, p):
    """Number of sentences and of words: 4 to 8 words a sentence where the demands allow it."""
    for _ in range(12):
        s = rng.choices([1, 2, 3, 4, 5], [28, 30, 24, 13, 5])[0]
        w = round(s * rng.uniform(3.4, 7.2) + rng.uniform(0, 2))
        if p["sentences"][0] <= s <= p["sentences"][1] and p["words"][0] <= w <= p["words"][1]:
            return s, w
    lo, hi = p["sentences"]
    s = lo if p["words"][1] < 17 else min(hi, max(lo, 2))
    return s, rng.randint(p["words"][0], min(p["words"][1], p["words"][0] + 6))


def compose(rng, topic, constraints):
    """An answer about `topic` that satisfies every constraint, or None where the grammar has none."""
    for _ in range(60):
        answer = draft(rng, topic, plan(rng, constraints))
        if answer and all(c.check(answer) for c in constraints):
            return answer
    return None


def draft(rng, topic, p):
    """One attempt; its number of words may miss the plan."""
    plural, adjectives, things, places = TOPICS[topic]
    be, s3 = ("are", "") if plural else ("is", "s")
    pronoun, obj = ("they", "them") if plural else ("it", "it")
    s, w = sizes(rng, p)
    adjectives, things = rng.sample(adjectives, len(adjectives)), rng.sample(things, len(things))
    number = lambda: str(rng.choice([2, 3, 4, 5, 6, 7, 8, 9, 12, 20]))

    end = p["end"]
    alone = end in ("that is all", "you will see") and s > 1 and rng.random() < 0.5
    full = s - 1 if alone else s
    asked = set()
    if p["question"]:
        open_slots = list(range(full - 1 if end and not alone and full > 1 else full))
        asked.add(rng.choice(open_slots[-2:]))
    told = [i for i in range(full) if i not in asked]
    counted = rng.choice(told[1:] or told or [None]) if p["digit"] else None
    tight = w < 4.5 * s

    statements = ["be", "like", "love", "happy", "see", "think", "there"] if not tight else ["be", "be", "like", "love", "help", "matter"]
    statements = rng.sample(statements, len(statements))
    questions = ["like", "seen", "think", "agree", "know"] if not tight else ["agree", "like", "whynot"]
    sentences, named = [], False
    for i in range(full):
        subject, object_ = (pronoun, obj) if named and rng.random() < 0.75 else (topic, topic)
        thing = things[i % len(things)]
        a = {"core": [], "where": False, "when": True}
        if i in asked:
            kind = rng.choice(questions) if i else rng.choice(["like", "seen", "know"])
            a["core"] = {"like": f"do you like {object_}", "seen": f"have you seen the {thing}", "think": "what do you think", "agree": "do you agree", "know": f"do you know {object_}", "whynot": "why not"}[kind].split()
            a["where"], a["when"] = kind == "seen", kind in ("like", "seen")
        elif i == counted:
            kind = rng.choice(["saw", "count", "there", "when"])
            a["where"] = True
            if kind == "when":
                a["core"], a["when_now"] = f"I like {object_}".split(), rng.choice(COUNTED_WHEN).format(n=number())
            else:
                a["core"] = {"saw": f"I saw {number()} {thing}", "count": f"you can count {number()} {thing}", "there": f"there are {number()} {thing}"}[kind].split()
        else:
            kind = statements.pop() if statements else "be"
            if i == 0 and kind in ("see", "there") and rng.random() < 0.7:
                kind = "be"
            adjective = adjectives[i % len(adjectives)]
            a["core"] = {
                "be": f"{subject} {be} {adjective}",
                "like": f"I like {object_}",
                "love": f"people love {object_}",
                "happy": f"{subject} make{s3} me happy",
                "see": f"you can see {thing}",
                "think": f"I often think of {object_}",
                "there": f"there are {thing}",
                "help": f"{subject} help{s3}",
                "matter": f"{subject} matter{s3}",
            }[kind].split()
            a["where"] = kind in ("see", "there", "like", "be")
            if kind == "there":
                a["where_now"] = rng.choice(places)
            if kind == "be" and p["comma"] and not tight and rng.random() < 0.3:
                b, c = adjectives[(i + 1) % 4], adjectives[(i + 2) % 4]
                a["core"] = f"{subject} {be} {adjective}, {b} and {c}".split()
        named = named or topic in " ".join(a["core"])
        a["told"], a["named"] = i not in asked, named
        sentences.append(a)

    extend(rng, p, sentences, w - (len(end.split()) if end else 0) - (1 if p["begin"] else 0), topic, pronoun, obj, be, adjectives, places, s3, end, alone, asked)
    return render(rng, p, sentences, asked, end, alone)


def extend(rng, p, sentences, w, topic, pronoun, obj, be, adjectives, places, s3, end, alone, asked):
    """Adds places, times and second clauses until the words are there; the demanded word goes in first."""
    if p["holds"]:
        fit = [a for a in sentences if a["when"] and "when_now" not in a]
        if fit:
            rng.choice(fit)["when_now"] = rng.choice(CONTAINED[p["holds"]])
    for a in sentences:
        a.setdefault("intro", None)
        if p["comma"] and a["told"] and len(sentences) * 6 < w and rng.random() < 0.15:
            a["intro"] = rng.choice(INTROS)
    whens = rng.sample(WHEN, len(WHEN))
    joins = [f"{pronoun} {be} {adjectives[-1]}", f"I like {obj}", f"people love {obj}", f"we all need {obj}", "that makes me happy", f"{pronoun} {be} {adjectives[-2]} too"]
    rng.shuffle(joins)
    count = lambda: sum(len(" ".join(filter(None, [a["intro"], " ".join(a["core"]), a.get("where_now"), a.get("when_now"), a.get("join")])).split()) for a in sentences)
    for _ in range(20):
        lack = w - count()
        if lack <= 0:
            return
        a = rng.choice(sentences)
        move = rng.choice(["where", "when", "join"])
        if move == "where" and a["where"] and "where_now" not in a and not any(b.get("where_now") for b in sentences if rng.random() < 0.6):
            a["where_now"] = rng.choice(places)
        elif move == "when" and a["when"] and "when_now" not in a and whens:
            a["when_now"] = whens.pop()
        elif move == "join" and lack >= 3 and "join" not in a and a["told"] and a["named"] and joins and a["intro"] is None:
            if p["comma"]:
                a["join"] = rng.choice([", and ", ", so ", " and ", " because "])
            else:
                a["join"] = rng.choice([" and ", " because ", " and "])
            clause = joins.pop()
            if "because" in a["join"] and not clause.startswith(pronoun):
                a["join"] = a["join"].replace("because", "and")
            a["join"] += clause


def render(rng, p, sentences, asked, end, alone):
    """The text, with capitals, marks, opening word and last words."""
    out = []
    for i, a in enumerate(sentences):
        text = " ".join(filter(None, [" ".join(a["core"]), a.get("where_now"), a.get("when_now")])) + a.get("join", "")
        if a["intro"]:
            text = f"{a['intro']}, {text}"
        if i == 0 and p["begin"]:
            text = p["begin"].lower() + (", " if p["comma"] and rng.random() < 0.6 else " ") + text
        if i == len(sentences) - 1 and end and not alone:
            joiner = " and " if end in ("that is all", "you will see") else (", " if p["comma"] and end == "as you know" else " ")
            text += joiner + end
        out.append([text, "?" if i in asked else "."])
    if alone:
        out.append([end, "."])
    if p["exclamation"]:
        plain = [x for x in out if x[1] == "."]
        if plain:
            for x in rng.sample(plain, 1 if rng.random() < 0.7 else min(2, len(plain))):
                x[1] = "!"
        else:
            out[-1][1] = "?!"
    text = " ".join(t[0].upper() + t[1:] + mark for t, mark in out)
    return text.lower() if p["lower_case"] else text
