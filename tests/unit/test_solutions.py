"""Texts that hold a chain and its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import UserError
from latentcot.data.solutions import split_solution, unbox

HALF = r"\frac{1}{2}"


@pytest.mark.parametrize(
    ("text", "mark", "chain", "answer"),
    [
        ("One.\n#### 7", None, "One.\n", "7"),
        ("### Step 1\nOne.\n#### 7", None, "### Step 1\nOne.\n", "7"),
        ("### One\n### 7", "###", "### One\n", "7"),
        (f"So $x = \\boxed{{{HALF}}}$.", None, f"So $x = {HALF}$.", HALF),
        (f"So $x = \\boxed{{{HALF}}}$.", "\\boxed{", f"So $x = {HALF}$.", HALF),
        (f"So $x = \\boxed {{{HALF}}}$.", "\\boxed", f"So $x = {HALF}$.", HALF),
        ("One.\n$$\\boxed{7}.$$\nDone.", None, "One.\nDone.", "7"),
        ("First \\boxed{3}.\nThen \\boxed{7}.", None, "First \\boxed{3}.\nThen 7.", "7"),
        ("\\boxed{\\{1, 2\\}}", None, "\n", "\\{1, 2\\}"),
        ("### Step 1\nOne.\n### Answer\nIt is \\boxed{7}.", None, "### Step 1\nOne.\n### Answer\nIt is 7.", "7"),
        ("It is \\boxed{7}.\n#### 7", None, "It is \\boxed{7}.\n", "7"),
        ("<think>\nOne.\n</think>\nSo \\boxed{7}.", None, "\n\nOne.\n", "7"),
        ("One.</think>\n\n7\n", None, "One.", "7"),
        ("<think>One.</think>\nIt is\n#### 7", None, "\nOne.", "7"),
    ],
)
def test_the_last_mark_or_box_gives_the_answer(text, mark, chain, answer):
    assert split_solution(text, mark) == (chain, answer)


@pytest.mark.parametrize(
    ("text", "mark", "fault"),
    [
        ("One.", None, "has no answer mark #### or ### and no box"),
        ("One.\n#### 7", "So:", "has no answer mark So:"),
        ("### One\n### Two", None, "has ### more than once: state columns.mark"),
        ("So \\boxed{7.", None, "without its closing brace"),
        ("<think>One. \\boxed{7}", None, "has <think> without </think>"),
        ("<think>One.</think>\nThus\nseven.", None, "has no answer mark #### or ### and no box after </think>"),
        ("<think>One. #### 7</think>", None, "after </think>"),
    ],
)
def test_a_text_without_an_answer_or_with_several_is_refused(text, mark, fault):
    with pytest.raises(UserError) as error:
        split_solution(text, mark)
    assert fault in str(error.value)


braces = st.recursive(
    st.text("ab\\,1 ", max_size=4).map(lambda text: text.replace("\\", "\\{")),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "".join(f"{{{part}}}" for part in parts)),
    max_leaves=6,
)


@given(braces, st.sampled_from(["It is ", "One.\nIt is $", ""]), st.sampled_from([".", "$.\nSo.", ""]))
def test_a_box_holds_any_nesting_of_braces(content, before, after):
    chain, answer = split_solution(f"{before}\\boxed{{{content}}}{after}")
    assert answer == content.strip()
    if before:
        assert "\\boxed" not in chain


@pytest.mark.parametrize(
    ("text", "content"),
    [(r"\boxed{7}", "7"), (r"$\boxed{7}$.", "7"), (r"It is \boxed{7}", r"It is \boxed{7}"), ("7", "7")],
)
def test_only_a_box_alone_is_opened(text, content):
    assert unbox(text) == content
