"""Parses captions into facts, to score the VLM's answers and to train the text encoder.

The grammar is that of `tools/world/src/caption.rs`. What a text does not mention is absent.
"""

from __future__ import annotations

FACTS = {
    "road": ("straight", "left", "right", "junction"),
    "light": ("none", "red", "amber", "green"),
    "light_close": ("no", "yes"),
    "pedestrian": ("no", "yes"),
    "lead": ("none", "ahead", "close"),
    "braking": ("no", "yes"),
    "sign": ("none", "slow", "medium", "fast"),
    "command": ("unknown", "left", "straight", "right"),
    "action": ("keep", "wait", "stop", "slow", "speed_up"),
    "because": ("road", "lead", "light", "pedestrian"),
}
# visible in the front image
SEEN = ("road", "light", "light_close", "pedestrian", "lead", "braking", "sign")
JUDGED = ("light", "pedestrian", "lead", "command")  # an answer must have these right

# The first phrase in this order that the sentence contains gives the value; without one, it is the
# first of FACTS.
SCENE = {
    "road": (("junction", "junction"), ("bends left", "left"), ("bends right", "right")),
    "light": (("red light", "red"), ("amber light", "amber"), ("green light", "green")),
    "light_close": (("light close", "yes"),),
    "pedestrian": (("pedestrian", "yes"),),
    "lead": (("car close", "close"), ("car ahead", "ahead")),
    "braking": (("braking", "yes"),),
    "sign": (("slow zone", "slow"), ("medium zone", "medium"), ("fast zone", "fast")),
}
ADVICE = {
    "command": (
        ("urn left", "left"),
        ("urn right", "right"),
        ("straight", "straight"),
        ("Follow the road", "straight"),
    ),
    "action": (
        ("wait", "wait"),
        ("stop", "stop"),
        ("yield", "stop"),
        ("slow down", "slow"),
        ("speed up", "speed_up"),
    ),
    "because": (
        ("the car", "lead"),
        ("green", "light"),
        ("the light", "light"),
        ("the pedestrian", "pedestrian"),
    ),
}


def read(text: str) -> dict[str, str]:
    """The value of each of FACTS. A text that is not a caption also gets values."""
    scene, _, advice = text.partition(". ")
    out = {}
    for table, sentence in ((SCENE, scene), (ADVICE, advice)):
        for fact, phrases in table.items():
            out[fact] = next(
                (value for phrase, value in phrases if phrase in sentence), FACTS[fact][0]
            )
    return out


def classes(text: str, facts: tuple[str, ...] = tuple(FACTS)) -> list[int]:
    """Indices into FACTS of the values of `text`."""
    values = read(text)
    return [FACTS[fact].index(values[fact]) for fact in facts]


def has_form(text: str) -> bool:
    """Whether `text` has the form of a caption: two sentences, fewer than 50 words, no digits."""
    ends = text.count(".") == 2 and text.endswith(".") and ". " in text
    return ends and len(text.split()) < 50 and not any(c.isdigit() for c in text)


def score(answers: list[str], wanted: list[str]) -> dict:
    """Shares of `answers` that agree with `wanted`: per fact, per value that is not absent
    (`recall`), on all JUDGED together, word for word; and the share with a caption's form."""
    pairs = [(read(a), read(w)) for a, w in zip(answers, wanted, strict=True)]
    share = lambda hits: round(sum(hits) / max(len(hits), 1), 4)
    by_value = lambda fact, value: [a[fact] == value for a, w in pairs if w[fact] == value]
    return {
        "captions": len(pairs),
        "facts": {fact: share([a[fact] == w[fact] for a, w in pairs]) for fact in FACTS},
        "recall": {
            fact: {
                v: [share(by_value(fact, v)), len(by_value(fact, v))]
                for v in FACTS[fact]
                if by_value(fact, v)
            }
            for fact in FACTS
        },
        "judged": share([all(a[fact] == w[fact] for fact in JUDGED) for a, w in pairs]),
        "all_facts": share([a == w for a, w in pairs]),
        "exact": share([a == w for a, w in zip(answers, wanted)]),
        "form": share([has_form(a) for a in answers]),
    }


def summary(result: dict) -> str:
    """`score` as human-readable text."""
    lines = [
        f"{result['captions']} captions: judged facts {result['judged']:.1%}, "
        f"all facts {result['all_facts']:.1%}, exact {result['exact']:.1%}, "
        f"form {result['form']:.1%}"
    ]
    for fact, share in result["facts"].items():
        parts = (
            f"{value} {hit:.1%} of {count}"
            for value, (hit, count) in result["recall"][fact].items()
        )
        lines.append(f"  {fact:<12}{share:>7.1%}   " + ", ".join(parts))
    return "\n".join(lines)
