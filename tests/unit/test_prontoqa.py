"""Generated ProntoQA: every answer is proved from the English text, and the text is like the published file's."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import fmean

import pytest

from latentcot.core import Example, UserError
from latentcot.data.prontoqa import CONCEPTS, FAMILIES, NAMES, PUBLISHED, make_splits, parse, recognises, statistics
from latentcot.data.records import faults, read
from tests.unit.sampling import BATCH, chi_square, far_off

FOLDER = Path(__file__).parents[3] / "shared/data/prontoqa"
FAMILY = {adjective: family for family in FAMILIES for adjective in family}
PATTERNS = [
    r"(?P<form>Each|Every) (?P<who>[a-z]+pus) is (?P<no>not )?(?P<what>an [aeiou]\w+pus|a [^aeiou]\w+pus|\w+)\.",
    r"(?P<who>[A-Z][a-z]+pus)es are (?P<no>not )?(?P<what>[a-z]+pus(?=es\.)|\w+)(?:es)?\.",
    r"(?P<form>)(?P<who>[A-Z][a-z]+) is (?P<no>not )?(?P<what>an [aeiou]\w+pus|a [^aeiou]\w+pus|\w+)\.",
]


@dataclass(frozen=True)
class Claim:
    """A sentence as the prover sees it: all of `who`, or the one so named, is (`holds`) or is not `what`."""

    who: str
    what: str
    holds: bool
    form: str

    @property
    def said(self) -> tuple[str, bool]:
        return self.what, self.holds


def claim(sentence: str) -> Claim:
    (found,) = [match for pattern in PATTERNS if (match := re.fullmatch(pattern, sentence))]
    form = found.groupdict().get("form")
    who = found["who"].lower() if form is None else found["who"]
    return Claim(who, found["what"].split()[-1], not found["no"], "plural" if form is None else form)


def split_up(text: str) -> list[str]:
    return re.findall(r"[^.]+\.", text.replace(". ", "."))


def parts(example: Example) -> tuple[dict[str, Claim], dict[str, Claim], Claim]:
    """The rules and the facts by their sentences, and what is asked."""
    *stated, query = split_up(example.question)
    claims = {sentence: claim(sentence) for sentence in stated}
    rules = {sentence: one for sentence, one in claims.items() if one.form}
    facts = {sentence: one for sentence, one in claims.items() if not one.form}
    assert stated == [*rules, *facts]
    assert query.startswith("True or false: ")
    return rules, facts, claim(query.removeprefix("True or false: "))


def follows(facts: list[Claim], rules: list[Claim]) -> set[tuple[str, bool]]:
    """All that is true of the one that the facts are about, by applying rules until nothing new comes."""
    known = {fact.said for fact in facts}
    while new := {rule.said for rule in rules if (rule.who, True) in known} - known:
        known |= new
    return known


def check_proof(example: Example) -> None:
    """The text decides the question as the answer says, by every rule of the steps and by none beside them."""
    rules, facts, asked = parts(example)
    yes, no = asked.said, (asked.what, not asked.holds)
    *steps, last = [split_up(step) for step in example.steps]
    proof = [second for _, second in steps]

    known = follows(list(facts.values()), list(rules.values()))
    assert (yes in known, no in known) == {"True": (True, False), "False": (False, True)}[example.answer]
    assert not any((what, not holds) in known for what, holds in known)
    for rule in proof:
        left = follows(list(facts.values()), [one for sentence, one in rules.items() if sentence != rule])
        assert not {yes, no} & left
    assert {yes, no} & follows(list(facts.values()), [rules[rule] for rule in proof])

    assert steps[0][0] in facts
    derived = [claim(first) for first, _ in steps] + [claim(sentence) for sentence in last]
    for before, (_, rule), after in zip(derived[:-1], steps, derived[1:], strict=True):
        assert before.said == (rules[rule].who, True)
        assert after.said == rules[rule].said
    assert {one.who for one in derived} == {asked.who} == {fact.who for fact in facts.values()}
    assert derived[-1].said in (yes, no)


def check_form(example: Example, hops: int, further: int) -> None:
    """Counts of sentences, every name and every family once, one rule that contradicts the conclusion."""
    rules, facts, asked = parts(example)
    properties = [rule for rule in rules.values() if rule.what in FAMILY]
    kinds = [rule for rule in rules.values() if rule.what not in FAMILY]
    assert (len(kinds), len(properties), len(facts)) == (hops + further + 1, hops + further + 2, 2)
    assert len(example.steps) == hops + 1
    assert all(kind.holds for kind in kinds)
    names = {rule.who for rule in rules.values()} | {kind.what for kind in kinds}
    assert names <= set(CONCEPTS)
    assert len(names) == hops + 1 + further + 2 + 1
    assert len({rule.who for rule in properties}) == len(properties)
    twice = Counter(FAMILY[rule.what] for rule in properties)
    assert {family: count for family, count in twice.items() if count > 1} == {FAMILY[asked.what]: 2}
    assert {rule.holds for rule in properties if rule.what == asked.what} == {True, False}
    assert asked.who in NAMES


@pytest.fixture(scope="module")
def published():
    file = FOLDER / "prontoqa_train.json"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    return read(file)


@pytest.fixture(scope="module")
def generated():
    return make_splits({"train": 20 * BATCH}, seed=0)["train"]


def test_published_questions_pass_the_checks(published):
    for example in published[:1000]:
        check_proof(example)
        check_form(example, 5, 5)


def test_generated_questions_pass_the_checks(generated):
    for example in generated[:1000]:
        check_proof(example)
        check_form(example, 5, 5)


@pytest.mark.parametrize(("hops", "further"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (7, 5), (8, 4)])
def test_other_numbers_of_hops_are_as_sound(hops, further):
    for example in make_splits({"test": 200}, seed=1, hops=hops)["test"]:
        check_proof(example)
        check_form(example, hops, further)


@pytest.mark.parametrize(
    "mend",
    [
        lambda example: replace(example, answer={"True": "False", "False": "True"}[example.answer]),
        lambda example: replace(example, steps=example.steps[1:]),
        lambda example: replace(example, question=example.question.replace(split_up(example.steps[2])[1] + " ", "")),
        lambda example: replace(example, question=example.question.replace("True or false", "Say whether")),
        lambda example: replace(example, steps=(*example.steps[:-1], "Max is kind.")),
    ],
)
def test_the_prover_refuses_a_faulty_question(mend, generated):
    with pytest.raises((AssertionError, KeyError, ValueError)):
        check_proof(mend(generated[0]))


def test_published_files_are_sound_records():
    files = sorted(FOLDER.glob("*.json"))
    if not files:
        pytest.skip(f"{FOLDER} is not here")
    assert [fault for file in files for fault in faults(file)] == []


def test_the_table_is_that_of_the_published_file(published):
    assert statistics(published) == pytest.approx(PUBLISHED, rel=1e-4, abs=5.1e-5)


def test_statistics_are_those_of_the_published_file(generated):
    assert far_off(statistics, generated, PUBLISHED, 9000, PUBLISHED.keys()) == {}


def test_rows_that_need_no_luck_are_as_they_must_be(generated):
    """Coins and lots that the published file shows within its own error, here against their true chances."""
    ours = statistics(generated)
    chances = {"plural": 1 / 2, "Each": 1 / 4, "Every": 1 / 4, "True": 1 / 2, "start first": 1 / 2}
    for name, chance in chances.items():
        cases = len(generated) * (23 if name in ("plural", "Each", "Every") else 1)
        assert abs(ours[name] - chance) < 4 * sqrt(chance * (1 - chance) / cases)


def roles(example: Example) -> Iterator[tuple[str, object]]:
    """What stands where in a question: a role and what has it."""
    rules, facts, asked = parts(example)
    order = list(rules)
    proof = [split_up(step)[1] for step in example.steps[:-1]]
    passed = [rules[rule].who for rule in proof]
    kinds = {rule.who: [] for rule in rules.values()}
    for rule in rules.values():
        if rule.what not in FAMILY:
            kinds[rule.who].append(rule.what)
    described = {rule.who: rule for rule in rules.values() if rule.what in FAMILY}
    (apart,) = {fact.what for fact in facts.values()} - {passed[0]}
    (opposite,) = [rule for rule in rules if rules[rule].said == (asked.what, not rules[proof[-1]].holds)]
    yield "name", asked.who
    yield "last polarity", (rules[proof[-1]].holds, example.answer)
    yield "apart", apart
    yield "apart family", FAMILY[described[apart].what]
    yield "apart polarity", described[apart].holds
    yield "opposite", rules[opposite].who
    yield "opposite place", order.index(opposite)
    yield "opposite form", rules[opposite].form
    yield "first rule's role", rules[order[0]].who in passed
    for level, (rule, concept) in enumerate(zip(proof, passed, strict=True)):
        yield f"concept {level}", concept
        yield f"adjective {level}", described[concept].what
        yield f"polarity {level}", described[concept].holds
        yield f"form {level}", rules[rule].form
        yield f"place {level}", order.index(rule)
        onward = passed[level + 1] if level + 1 < len(passed) else None
        for parent in kinds[concept]:
            if parent != onward and parent in described:
                yield f"further parent {level}", parent
                yield f"further adjective {level}", described[parent].what
                yield f"further polarity {level}", described[parent].holds
    for before, after in pairwise(order):
        yield "neighbours", (rules[before].who in passed, rules[before].what in FAMILY, rules[after].what in FAMILY)
    yield "words", min(max(len(example.question.split()), 95), 114)
    yield "words of steps", sum(len(step.split()) for step in example.steps)


def test_who_and_what_stand_where_is_distributed_as_published(generated, published):
    """Chi-square of about 50 kinds of things, each within 4 standard deviations."""
    ours, theirs = ({}, {})
    for found, examples in ((ours, generated), (theirs, published[: len(generated)])):
        for example in examples:
            for role, value in roles(example):
                found.setdefault(role, Counter())[value] += 1
    assert ours.keys() == theirs.keys()
    off = {role: chi_square(ours[role], theirs[role]) for role in ours}
    assert {role: round(score, 1) for role, score in off.items() if score > 4} == {}


def test_the_surface_does_not_tell_the_answer(generated):
    """True is a coin, within 4 standard errors, whatever the query's polarity and that of the first like rule."""
    answers: dict[tuple[bool, bool], list[bool]] = {}
    for example in generated:
        rules, _, asked = parts(example)
        first = next(rule for rule in rules.values() if rule.what == asked.what)
        answers.setdefault((asked.holds, first.holds), []).append(example.answer == "True")
    assert len(answers) == 4
    for true in answers.values():
        assert abs(fmean(true) - 0.5) < 4 * 0.5 / sqrt(len(true))


def test_the_same_seed_gives_the_same_questions():
    sizes = {"train": 20, "valid": 5}
    assert make_splits(sizes, 1) == make_splits(sizes, 1)
    assert make_splits(sizes, 1) != make_splits(sizes, 2)


def test_splits_share_no_rules_however_worded():
    made = make_splits({"train": 300, "valid": 100, "test": 100}, seed=0, hops=1)
    keys = Counter(
        frozenset((rule.who, rule.said) for rule in parts(example)[0].values())
        for examples in made.values()
        for example in examples
    )
    assert keys.total() == len(keys) == 500


@pytest.mark.parametrize("hops", [0, -1, 9])
def test_senseless_options_are_refused(hops):
    with pytest.raises(UserError, match=rf"^hops is {hops}: give 1 to 8[^\n]*$"):
        make_splits({"train": 1}, 0, hops=hops)


@pytest.mark.parametrize(
    "sentence",
    [
        "Each wumpus is an yumpus.",
        "Each wumpus is yumpus.",
        "Each wumpuses are kind.",
        "wumpuses are kind.",
        "Wumpus are kind.",
        "Wumpuses are a yumpus.",
        "Wumpuses are yumpuses",
        "Everything is not quite right.",
        "",
    ],
)
def test_only_the_task_s_own_sentences_are_parsed(sentence):
    with pytest.raises(UserError, match="not worded as in ProntoQA"):
        parse(sentence)


def test_questions_of_other_tasks_are_not_recognised(generated):
    sound = generated[0]
    assert recognises(sound)
    assert not recognises(replace(sound, steps=()))
    assert not recognises(replace(sound, steps=("Max is kind of a wumpus.",)))
    assert not recognises(replace(sound, question=sound.question.replace("True or false: ", "")))
    assert not recognises(Example("Tom is a wumpus. Is Tom a wumpus or yumpus?", ("Tom is a wumpus.",), "Tom"))


@pytest.mark.parametrize(
    "example",
    [
        Example("True or false: Max is kind.", ("Max is kind.",), "True"),
        Example("Impuses are kind. True or false: Max is not kind.", ("Max is not kind.",), "True"),
    ],
)
def test_statistics_of_the_smallest_questions(example):
    assert recognises(example)
    assert statistics([example])["sentences"] == example.question.count(".") - 1


def test_statistics_counted_by_hand():
    question = (
        "Each impus is a wumpus. Wumpuses are not kind. Every yumpus is kind. Impuses are jompuses. "
        "Each impus is not red. Max is an impus. True or false: Max is kind."
    )
    steps = ("Max is an impus. Each impus is a wumpus.", "Max is a wumpus. Wumpuses are not kind.", "Max is not kind.")
    assert statistics([Example(question, steps, "False")]) == pytest.approx(
        {
            **{"words": 31, "words sd": 0, "sentences": 6, "property rules": 3, "concept rules": 2, "concepts": 4},
            **{"adjectives": 2, "parents": 1, "plural": 0.4, "Each": 0.4, "Every": 0.2, "asked negated": 0},
            **{"start first": 1, "negated at end": 1, "negated passed": 1, "opposite at": 0.5, "in order": 1},
            **{"True": 0, "3 steps": 1},
        }
    )
    with pytest.raises(UserError, match="no questions"):
        statistics([])
