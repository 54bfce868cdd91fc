"""Our engine against Hugging Face's `generate` and CTranslate2, on networks of the same shape."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.asked import Asked, say
from benchmarks.measuring import Spent, Spread, in_turns, rate, ratio
from benchmarks.report import Grid, Section
from benchmarks.subject import TimedProcess

FIXED: Final = 18  # pieces, about what a text of the examples takes
NAMES: Final = {"transformers": "Hugging Face", "ctranslate2": "CTranslate2"}


def measure(asked: Asked) -> Section:
    with ExitStack() as stack:
        ours = stack.enter_context(TimedProcess("ours.py", str(asked.vectors)))
        precision = ours.ask("facts")["precision"]
        rivals = [("transformers", "float32"), ("ctranslate2", "float32"), ("ctranslate2", "int8")]
        if precision == "bfloat16":
            rivals.insert(1, ("transformers", "bfloat16"))
        subjects = {rival: stack.enter_context(TimedProcess("rivals.py", *rival)) for rival in rivals}
        natural = ours.ask("lengths", rows=asked.rows)["lengths"]
        grids: list[Grid] = []
        headlines: dict[str, Spread] = {}
        for ends in (f"exactly {FIXED} pieces", "natural ends"):
            say(f"the peers, {ends}")
            fixed = ends != "natural ends"
            lengths = [FIXED] * asked.rows if fixed else natural
            rounds: dict[int, dict[str, list[Spent]]] = {}
            for size in asked.micro_batches:
                limits = {"limit": FIXED, "at_least": FIXED} if fixed else {}
                given = {"engine": "native", "rows": asked.rows, "micro_batch": size} | limits
                works = {
                    f"ours {name}": partial(ours.time, "generate_texts", precision=name, **given)
                    for name in sorted({"float32", precision})
                }
                for rival, subject in subjects.items():
                    works[" ".join(rival)] = partial(subject.time, "generate_texts", lengths=lengths, micro_batch=size)
                for work in works.values():
                    work()
                rounds[size] = in_turns(works, asked.rounds)
            best = f"ours {precision}"
            rows = [
                (f"Unembed, {name}", *(f"{rate(rounds[n][f'ours {name}'], asked.rows):,.0f} rows/s" for n in rounds))
                for name in sorted({"float32", precision})
            ]
            for library, arithmetic in rivals:
                ratios = {size: ratio(rounds[size][f"{library} {arithmetic}"], rounds[size][best]) for size in rounds}
                rows.append((f"over {NAMES[library]}, {arithmetic}", *(f"{one:.2f}" for one in ratios.values())))
                middle = asked.micro_batches[len(asked.micro_batches) // 2]
                headlines[f"over {NAMES[library]} {arithmetic}, batch {middle}, {ends}"] = ratios[middle]
            grids.append(Grid(ends.capitalize(), ("", *(f"batch {size}" for size in rounds)), rows))
    return Section("Against Hugging Face and CTranslate2, on one core", grids, _method(asked, precision), headlines)


def _method(asked: Asked, precision: str) -> str:
    return f"""
        {asked.rows:,} rows a round, {asked.rounds} rounds in turns; the ratios compare with Unembed in {precision}. The
        peers run a GPT-2 of our network's shape: one layer of width 256, two heads, an MLP of 384, 256 pieces. Only
        time is compared, so their weights are random, but for one thing: the piece n is followed by n - 1, and 0 is the
        end mark. So a row that begins with the piece L ends after L pieces, by its end mark, as a trained network's
        would. With natural ends the peers get exactly the lengths that our texts have, in the same order and in the
        same batches. Where all texts have {FIXED} pieces, ours are those examples that are as long or longer, cut off
        there. Unembed's engine does more: it reads the embedding at every step, has gated units and a repetition
        penalty, and returns log-probabilities. It is called through `Engine.generate`, the peers through
        `model.generate` (with its cache) and `Generator.generate_batch`. Turning pieces into text is in none of them.

    """
