"""The reference pipeline with a scripted model, and inputs for it of any number. What takes its pairs is the caller's."""

import json
import time

PIPELINE = """
[model.policy]
kind = "scripted"
LOG
[[model.policy.rule]]
match = "."
reply = '''{{ ["Today it is good.", "well, that is so", "Bread? 5 loaves, friend!", "It is good, and it is warm. It is there. So it is! Yes."] | pick }}
{%- for _ in range(3) %} {{ ["I know it well", "and you know it too", "my friend", "there are 7 of them,", "or not"] | pick }}{% endfor %}'''

[stage.profiles]
type = "profiles"
path = "profiles.jsonl"

[stage.personas]
type = "personas"
path = "personas.jsonl"

[stage.session]
type = "session"
from = "profiles"
with = "personas"
personas_per_profile = PERSONAS

[stage.play]
type = "persona-play"
from = ["session", "next"]

[stage.respond]
type = "respond"
from = "play"
model = "policy"
samples = SAMPLES

[stage.judge]
type = "judge"
from = "respond"

[stage.corrections]
type = "corrections"
path = "corrections.jsonl"

[stage.correct]
type = "correct"
from = "judge"
with = "corrections"

# What was judged wrongly does not make the dialogue another one.
[stage.next]
type = "next"
from = "judge"
turns = 5

[stage.reverse]
type = "reverse"
from = "profiles"

[stage.pair]
type = "pair"
from = "correct"
with = "reverse"

[stage.verify]
type = "verify"
from = "pair"
"""

# A program decides them; each profile has six.
CONSTRAINTS = [
    ("Write at most 16 words.", {"type": "words", "at_most": 16}),
    ('Your first word must be "Today".', {"type": "begins_with", "word": "Today"}),
    ("Do not use any commas.", {"type": "comma", "negated": True}),
    ('Do not use the word "friend".', {"type": "contains", "word": "friend", "negated": True}),
    ("Digits must not appear.", {"type": "digit", "negated": True}),
    ("Give an answer of 9 or more words.", {"type": "words", "at_least": 9}),
    ("Answer in no more than 2 sentences.", {"type": "sentences", "at_most": 2}),
    ('Use the word "know".', {"type": "contains", "word": "know"}),
    ("Use at least one digit.", {"type": "digit"}),
]
PER_PROFILE = 6


def profile(number, words=""):
    """Six of the constraints, other ones from profile to profile."""
    chosen = (CONSTRAINTS[(number + nth) % len(CONSTRAINTS)] for nth in range(PER_PROFILE))
    constraints = [{"id": f"c{nth}", "text": text, "check": check} for nth, (text, check) in enumerate(chosen)]
    described = f"You are Leo, carpenter number {number} of a large town. You never rush, and you like to be asked.{words}"
    return {"id": f"p{number:05}", "name": "Leo", "description": described, "skills": [], "constraints": constraints}


def persona(number):
    queries = ["What is bread?", "And tea?", "And the sea?", "And the moon?", "And cats?"]
    return {"id": f"u{number:03}", "queries": [f"{query} ({number})" for query in queries]}


def write(path, rows):
    """Replaces the file at once, as editors do; says when."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    new.rename(path)
    return time.perf_counter()


def prepare(folder, sink, profiles, personas, samples, log=""):
    """Puts the pipeline, `pipeline.toml`, and its inputs into a folder. `log` is a line of the model's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    text = PIPELINE.replace("PERSONAS", str(personas)).replace("SAMPLES", str(samples)).replace("LOG", log)
    (folder / "pipeline.toml").write_text(f'name = "scale"\n{text}\n{sink}')
    write(folder / "profiles.jsonl", map(profile, range(profiles)))
    write(folder / "personas.jsonl", map(persona, range(personas)))
    write(folder / "corrections.jsonl", [])
