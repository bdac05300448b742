"""ProntoQA: is a statement about an entity true or false, by a chain of rules? The generator, and a set's statistics.

    Numpuses are not wooden. Each vumpus is a brimpus. ... Max is a vumpus. Max is a lorpus. True or false: Max is not
    wooden.

The task is Saparov and He's (arXiv 2210.01240) as the COCONUT paper uses it: invented concepts, sentences in random
order, 5 hops. The rules here give the published training file's distribution; where descriptions of the task and the
file disagree, they follow the file.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import fmean, stdev

from latentcot.core import Example, UserError
from latentcot.data.splits import split

NAMES = ["Alex", "Fae", "Max", "Polly", "Rex", "Sally", "Sam", "Stella", "Wren"]
CONCEPTS = [
    "brimpus", "dumpus", "gorpus", "grimpus", "impus", "jompus", "lempus", "lorpus", "numpus",
    "rompus", "shumpus", "sterpus", "tumpus", "vumpus", "wumpus", "yumpus", "zumpus",
]  # fmt: skip
FAMILIES = [
    ("blue", "red", "brown", "orange"),
    ("small", "large"),
    ("metallic", "wooden", "luminous", "liquid"),
    ("transparent", "opaque"),
    ("nervous", "happy", "feisty", "shy"),
    ("bright", "dull"),
    ("sweet", "sour", "spicy", "bitter"),
    ("floral", "fruity", "earthy"),
    ("hot", "cold", "temperate"),
    ("kind", "mean", "angry", "amenable", "aggressive"),
    ("melodic", "muffled", "discordant", "loud"),
    ("slow", "moderate", "fast"),
    ("windy", "sunny", "overcast", "rainy", "snowy"),
]
"""Adjectives that exclude each other. A question takes one of a family at most."""

FORMS = {"plural": 2, "Each": 1, "Every": 1}
"""How a rule is worded, and how often: "Vumpuses are ...", "Each vumpus is ...", "Every vumpus is ..."."""

QUERY = "True or false: "
MOST_HOPS = 8

POLARITY = {False: 2 / 3, True: 1 / 3}
"""Share of properties that are as they are and that are negated, before a walk has chosen among them."""
STOPS = {False: 0.3 / 1.3, True: 0.7 / 1.7}
"""Chance that a walk up the chain ends on a concept's property, by whether this is negated: it weighs 0.3 or 0.7
against 1 for going on. Questions whose walk takes the asked number of hops have few negated properties on the way
(27.7%) and many at its end (47.2%), as the file has."""

PUBLISHED = {
    "words": 104.628, "words sd": 4.013, "sentences": 25, "property rules": 12, "concept rules": 11, "concepts": 14,
    "adjectives": 11, "parents": 2, "plural": 0.4986, "Each": 0.2511, "Every": 0.2502, "asked negated": 0.4988,
    "start first": 0.5081, "negated at end": 0.4669, "negated beside": 0.3301, "negated passed": 0.2747,
    "opposite at": 0.4989, "in order": 0.5004, "True": 0.4923, "6 steps": 1,
}  # fmt: skip
"""`statistics` of the 9,000 published training questions."""


@dataclass(frozen=True)
class Statement:
    """What a sentence says: `subject`, a concept or an entity, is (not) `predicate`."""

    subject: str
    predicate: str
    """A concept, or an adjective."""
    negated: bool = False

    @property
    def is_property(self) -> bool:
        """Whether the predicate is an adjective. The name of a concept always ends in "pus"."""
        return not self.predicate.endswith("pus")

    def sentence(self, form: str = "") -> str:
        """In English, with its full stop. A rule takes one of `FORMS`, a statement about an entity takes none."""
        negation = "not " if self.negated else ""
        if form == "plural":
            return f"{self.subject.capitalize()}es are {negation}{self.predicate}{'' if self.is_property else 'es'}."
        article = "" if self.is_property else "an " if self.predicate[0] in "aeiou" else "a "
        return f"{form} {self.subject} is {negation}{article}{self.predicate}.".lstrip()


_SENTENCE = re.compile(r"(?:(Each|Every) )?(\w+) (is|are) (not )?(?:an? )?(\w+)\.")


def parse(sentence: str) -> tuple[str, Statement]:
    """The form of a sentence ("" for one about an entity) and what it says; UserError unless it is just so worded."""
    match = _SENTENCE.fullmatch(sentence)
    if match is not None:
        form, subject, verb, negation, predicate = match.groups(default="")
        if verb == "are":
            form, subject = "plural", subject.lower().removesuffix("es")
            predicate = predicate.removesuffix("es") if predicate.endswith("puses") else predicate
        statement = Statement(subject, predicate, bool(negation))
        if statement.sentence(form) == sentence:
            return form, statement
    raise UserError(f'"{sentence:.60}" is not worded as in ProntoQA: write "Each x is a y." or the like')


def make_splits(sizes: Mapping[str, int], seed: int, *, hops: int = 5) -> dict[str, list[Example]]:
    """Questions for each split, no set of rules twice, however worded; the default is the published task.

    A question of `hops` hops has `hops + 1` steps: `hops` rules, each with what it is applied to, and the conclusion.
    UserError for a number of hops that is not from 1 to 8.
    """
    if not 1 <= hops <= MOST_HOPS:
        raise UserError(f"hops is {hops}: give 1 to {MOST_HOPS}, beyond which the concepts' further parents run out")
    return split(sizes, partial(draw, hops=hops), seed)


def draw(rng: random.Random, hops: int) -> tuple[frozenset[Statement], Example]:
    """One question, with its rules as a key.

    A chain of `hops + 1` concepts, in which each but the last has a property and a further parent with a property of
    its own; a chain of two that is not connected with it; and a concept with the opposite of the concluded property.
    Every concept and every family of adjectives is used once, the concluded adjective twice. That makes 4 * hops + 5
    sentences.

    From 7 hops on, the 13 families are too few (and the 17 concepts would be). Then only some concepts of the chain,
    chosen by lot, have a further parent (5 of 7, or 4 of 8), so that deep questions use no word that others lack.
    """
    concepts = iter(rng.sample(CONCEPTS, len(CONCEPTS)))
    adjectives = (rng.choice(family) for family in rng.sample(FAMILIES, len(FAMILIES)))

    def describe(concept: str, weights: Mapping[bool, float] = POLARITY) -> Statement:
        return Statement(concept, next(adjectives), rng.choices(list(weights), list(weights.values()))[0])

    chain = [next(concepts) for _ in range(hops + 1)]
    links = [Statement(child, parent) for child, parent in pairwise(chain)]
    passed = {negated: POLARITY[negated] * (1 - STOPS[negated]) for negated in POLARITY}
    last = {negated: POLARITY[negated] * STOPS[negated] for negated in POLARITY}
    conclusion = describe(chain[-2], last)
    rules = [*links, *(describe(concept, passed) for concept in chain[:-2]), conclusion]

    further_parents = min(hops, len(FAMILIES) - hops - 1)
    for child in rng.sample(chain[:-1], further_parents):
        rules += [Statement(child, parent := next(concepts)), describe(parent)]
    apart = next(concepts)
    rules += [Statement(apart, next(concepts)), describe(apart)]
    rng.shuffle(rules)
    opposite = Statement(next(concepts), conclusion.predicate, not conclusion.negated)
    rules.insert(rng.randrange(len(rules) + 1), opposite)
    # By the task's description a walk could also end on a further parent's property. In the file none does.
    return frozenset(rules), _example(rules, [*links[:-1], conclusion], apart, rng)


def _example(rules: Sequence[Statement], proof: Sequence[Statement], apart: str, rng: random.Random) -> Example:
    """The rules in words, in their order, two facts and the query, with the proof's rules in pairs as steps."""
    sentences = {rule: rule.sentence(rng.choices(list(FORMS), list(FORMS.values()))[0]) for rule in rules}
    name = rng.choice(NAMES)
    facts = [Statement(name, concept).sentence() for concept in rng.sample([proof[0].subject, apart], 2)]
    derived = [Statement(name, proof[0].subject)]
    derived += [Statement(name, rule.predicate, rule.negated) for rule in proof]
    pairs = zip(derived, proof, strict=False)
    true = rng.random() < 0.5
    asked = derived[-1] if true else replace(derived[-1], negated=not derived[-1].negated)
    return Example(
        question=" ".join([*sentences.values(), *facts, QUERY + asked.sentence()]),
        steps=(*(f"{known.sentence()} {sentences[rule]}" for known, rule in pairs), derived[-1].sentence()),
        answer=str(true),
    )


@dataclass(frozen=True)
class _Text:
    """What the sentences of an example say."""

    rules: dict[Statement, str]
    """In the order of the text, with their forms."""
    facts: list[Statement]
    asked: Statement
    start: Statement
    """The fact that the steps start from."""
    proof: list[Statement]
    """The rules that the steps apply, in their order."""
    conclusion: Statement


def generator_record(row: object) -> dict[str, object]:
    """Return the record of a question in the output of the generator (asaparov/prontoqa), as it was published.

    The query follows the facts; a fact and the rule applied to it make a step, and the conclusion is the last one.
    UserError where the chain is no such proof.
    """
    fields = ("question", "query", "chain_of_thought", "answer")
    facts, query, chain, answer = (row.get(field) for field in fields) if isinstance(row, dict) else [None] * 4
    if not (
        isinstance(facts, str) and isinstance(query, str) and isinstance(answer, str)
        and isinstance(chain, list) and all(isinstance(sentence, str) for sentence in chain)
    ):  # fmt: skip
        raise UserError(f"not as ProntoQA's generator writes a question: give {', '.join(fields)}")
    known = set(_sentences(facts))
    if len(chain) % 2 == 0 or not all(sentence in known for rule in chain[1::2] for sentence in _sentences(rule)):
        raise UserError('"chain_of_thought" is not fact, rule, fact, rule, ..., conclusion: leave it out')
    steps = [" ".join(chain[first : first + 2]) for first in range(0, len(chain), 2)]
    return {"question": f"{facts.strip()} {query.strip()}", "steps": steps, "answer": answer}


def recognises(example: Example) -> bool:
    """Whether this is a ProntoQA question: every sentence of it and of its steps is worded as there."""
    try:
        _read(example)
    except UserError:
        return False
    return True


def statistics(examples: Sequence[Example]) -> dict[str, float]:
    """The rows of `PUBLISHED`, read off the text; UserError where there are no questions, or others than these.

    "words" to "adjectives" are means of a question, "parents" is that of a concept that the proof passes. "plural",
    "Each" and "Every" are shares of the rules, "negated ..." of the properties at the end of the proof, beside it or
    passed by it. "start first": the proof's fact stands before the other one. "opposite at": place of the rule that
    contradicts the conclusion, 0 first and 1 last. "in order": share of the proof's neighbouring rules that the text
    has in the same order. A row without any case is left out.
    """
    if not examples:
        raise UserError("no questions: statistics need at least one")
    words = [len(example.question.split()) for example in examples]
    cases: dict[str, list[float]] = defaultdict(list)
    for example in examples:
        for name, value in _cases(_read(example)):
            cases[name].append(value)
    steps = Counter(len(example.steps) for example in examples)
    return {
        "words": fmean(words),
        "words sd": stdev(words) if len(words) > 1 else 0.0,
        **{name: fmean(values) for name, values in cases.items()},
        "True": fmean(example.answer == "True" for example in examples),
        **{f"{n} steps": count / len(examples) for n, count in sorted(steps.items())},
    }


def _read(example: Example) -> _Text:
    """What the sentences say; UserError names the first that is worded in another way."""
    *stated, query = _sentences(example.question)
    if not query.startswith(QUERY) or not example.steps:
        raise UserError(f'no question that ends in "{QUERY}..." and has steps: mend it')
    given = [parse(sentence) for sentence in stated]
    written = [parse(sentence) for step in example.steps for sentence in _sentences(step)]
    return _Text(
        rules={what: form for form, what in given if form},
        facts=[what for form, what in given if not form],
        asked=parse(query.removeprefix(QUERY))[1],
        start=written[0][1],
        proof=[what for form, what in written if form],
        conclusion=written[-1][1],
    )


def _sentences(text: str) -> list[str]:
    return text.replace(". ", ".\n").split("\n")


def _cases(text: _Text) -> Iterator[tuple[str, float]]:
    """A row of the statistics and a value, for each case that the question has of it."""
    rules = list(text.rules)
    properties = [rule for rule in rules if rule.is_property]
    parents = Counter(rule.subject for rule in rules if not rule.is_property)
    passed = {rule.subject for rule in text.proof}
    yield "sentences", len(rules) + len(text.facts)
    yield "property rules", len(properties)
    yield "concept rules", parents.total()
    yield "concepts", len({rule.subject for rule in rules} | {rule.predicate for rule in rules if not rule.is_property})
    yield "adjectives", len({rule.predicate for rule in properties})
    yield from (("parents", parents[concept]) for concept in passed)
    yield from ((name, form == name) for name in FORMS for form in text.rules.values())
    yield "asked negated", text.asked.negated
    yield "start first", text.facts[:1] == [text.start]
    for rule in properties:
        if rule.predicate != text.conclusion.predicate:
            yield f"negated {'passed' if rule.subject in passed else 'beside'}", rule.negated
        elif rule.negated == text.conclusion.negated:
            yield "negated at end", rule.negated
        else:
            yield "opposite at", rules.index(rule) / max(len(rules) - 1, 1)
    places = [rules.index(rule) for rule in text.proof if rule in text.rules]
    yield from (("in order", first < second) for first, second in pairwise(places))
