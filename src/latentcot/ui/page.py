"""The page in the browser, with Gradio: widgets over `asking`, on this machine alone unless asked otherwise."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Read when Gradio is imported.

import gradio as gr
from starlette.middleware import Middleware

from latentcot.checkpoint import Checkpoint
from latentcot.core import UserError
from latentcot.ui.asking import as_html, ask, require_short, whole
from latentcot.ui.guard import Guard
from latentcot.ui.questions import Questions

SHORTEST = 8
"""The slider goes at least that far, and to twice the checkpoint's own number of thoughts."""


def serve(checkpoints: Mapping[str, Checkpoint], questions: Questions, host: str, port: int) -> None:
    """Show the page until the process is interrupted."""
    page = build(checkpoints, questions)
    font = ("system-ui", "sans-serif")  # A web font would be fetched.
    _, url, _ = page.launch(
        server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, ssr_mode=False,
        app_kwargs={"middleware": [Middleware(Guard, host=host)]},
        footer_links=[], theme=gr.themes.Default(primary_hue="sky", font=font, font_mono=("ui-monospace", "monospace")),
        css=files("latentcot.ui").joinpath("page.css").read_text(encoding="utf-8"),
    )  # fmt: skip
    print(f"{url} (Ctrl+C stops it)", flush=True)
    page.block_thread()


def build(checkpoints: Mapping[str, Checkpoint], questions: Questions) -> gr.Blocks:
    """The widgets and what a click does."""
    own = next(iter(checkpoints.values())).thoughts
    most = max(SHORTEST, 2 * own)
    rng = random.Random()
    with gr.Blocks(title="latentcot", analytics_enabled=False) as page:
        gr.Markdown("# latentcot\nAsk a question, give thoughts, and look inside them.")
        with gr.Row(equal_height=False):
            with gr.Column():
                question = gr.Textbox(label="Question", lines=4, elem_id="question")
                message = gr.HTML(visible=False)
                thoughts = gr.Slider(0, most, own, step=1, label="Thoughts", elem_id="thoughts")
                # A typed number out of range is refused in words below; Gradio would raise.
                thoughts.preprocess = lambda number: number
                with gr.Row():
                    asking = gr.Button("Ask", variant="primary", elem_id="ask")
                    drawing = gr.Button("Random question", elem_id="random")
                gr.Markdown(f"Random questions: {questions.origin or 'none'}.")
            with gr.Column():
                answers = gr.HTML(elem_id="answers")
        race, tree = gr.HTML(elem_id="race"), gr.HTML(elem_id="tree")

        def respond(text: str, number: float | None) -> list[Any]:
            """What the page shows for a question and a number of thoughts, or why it cannot."""
            try:
                require_short(text)
                shown = ask(checkpoints, questions.understood(text), whole(number, most))
            except UserError as error:
                return _failed(error)
            return [
                gr.update(visible=False),
                as_html("answers", shown),
                as_html("picture", shown.race),
                as_html("picture", shown.tree),
            ]

        def draw(text: str, number: float | None) -> list[Any]:
            """A random question in the box, and what the page shows for it."""
            try:
                text = questions.draw(checkpoints.values(), rng).question
            except UserError as error:
                return [text, *_failed(error)]
            return [text, *respond(text, number)]

        # One at a time: they share the models.
        options: dict[str, Any] = {"concurrency_id": "models", "show_progress": "minimal", "api_visibility": "private"}
        outputs = [message, answers, race, tree]
        gr.on([asking.click, question.submit, thoughts.release], respond, [question, thoughts], outputs, **options)
        drawing.click(draw, [question, thoughts], [question, *outputs], **options)
    return page


def _failed(error: UserError) -> list[Any]:
    """A message beside the box, and nothing that could be taken for its answer."""
    return [gr.update(visible=True, value=as_html("message", str(error))), "", "", ""]
