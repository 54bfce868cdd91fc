"""How fast the engine is, over the plain loop and over the commit before it, and how near the limit of this core."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks.asked import BEFORE, Asked, commit_before, say
from benchmarks.measuring import Spent, Spread, in_turns, rate, ratio
from benchmarks.report import Grid, Section
from benchmarks.subject import TimedProcess
from unembed.models.decoder.config import NetworkConfig

CANDIDATE_ROWS: Final = 512  # candidates that are decoded in a round, whatever a row has of them


@dataclass(frozen=True)
class _Work:
    """One line of the table: what is asked for, of whom, by which name."""

    name: str
    subject: TimedProcess
    what: str
    arguments: dict[str, Any]


def measure(asked: Asked) -> Section:
    with ExitStack() as stack:
        ours = stack.enter_context(TimedProcess("ours.py", str(asked.vectors)))
        checkout = stack.enter_context(commit_before())
        before = (
            stack.enter_context(TimedProcess("ours.py", str(asked.vectors), checkout=checkout)) if checkout else None
        )
        facts = ours.ask("facts")
        precisions = ["float32"] + (["bfloat16"] if facts["precision"] == "bfloat16" else [])
        grids: list[Grid] = []
        headlines: dict[str, Spread] = {}
        for precision in precisions:
            say(f"the engine in {precision}")
            ceilings = [ours.ask("multiply", precision=precision)["gflops"]]
            rounds = _timed(_works(asked, precision, ours, before, facts), asked.rounds)
            ceilings.append(ours.ask("multiply", precision=precision)["gflops"])
            pieces = ours.ask("lengths", rows=asked.rows)["lengths"]
            limit = 1e9 * max(ceilings) / flops_per_row(NetworkConfig.of(embedding_dim=384), pieces)  # rows/s
            found, best = _tables(asked, precision, rounds, limit)
            grids += found
            headlines |= best
    return Section("The engine, on one core", grids, _method(asked, before is not None, precisions), headlines)


def _works(
    asked: Asked, precision: str, ours: TimedProcess, before: TimedProcess | None, facts: dict[str, Any]
) -> list[_Work]:
    works: list[_Work] = []

    def add(name: str, what: str, **arguments: Any) -> None:
        """Of both commits; there was only the plain loop before."""
        arguments["precision"] = precision
        works.append(_Work(f"{name}", ours, what, arguments))
        if before is not None:
            older = arguments | ({"engine": "plain"} if "engine" in arguments else {})
            works.append(_Work(f"{name} before", before, what, older))

    def add_plain(name: str, what: str, **arguments: Any) -> None:
        add(name, what, engine="native", **arguments)
        works.append(_Work(f"{name} plain", ours, what, arguments | {"engine": "plain", "precision": precision}))

    for size in asked.micro_batches:
        add_plain(f"greedy {size}", "generate_texts", rows=asked.rows, micro_batch=size)
    add_plain("forced", "score_texts", rows=asked.rows, micro_batch=asked.micro_batches[-1])
    rows = {"rows": asked.rows, "micro_batch": asked.micro_batches[-1]}
    add("decode_rows", "decode_rows", options={"candidates": 1}, **rows)
    add("by default", "decode_rows", options={}, **rows)
    if "scores" in facts["options"]:
        unscored = {"options": {"candidates": 1, "scores": "none"}, "precision": precision}
        works.append(_Work("without scores", ours, "decode_rows", rows | unscored))
    for count in asked.candidates:
        few = _few(asked, count)
        add(f"nearest of {count}", "nearest_of", count=count, rows=few, micro_batch=few)
    return works


def _timed(works: list[_Work], rounds: int) -> dict[str, list[Spent]]:
    """In turns, after each was done once, for what is loaded and made at the first call."""
    ways = {work.name: partial(work.subject.time, work.what, **work.arguments) for work in works}
    for way in ways.values():
        way()
    return in_turns(ways, rounds)


def _tables(
    asked: Asked, precision: str, rounds: dict[str, list[Spent]], limit: float
) -> tuple[list[Grid], dict[str, Spread]]:
    def over(name: str, other: str) -> Spread | None:
        return ratio(rounds[f"{name} {other}"], rounds[name]) if f"{name} {other}" in rounds else None

    def cell(spread: Spread | None) -> str:
        return "–" if spread is None else f"{spread:.2f}"

    greedy, shares = [], []
    for size in asked.micro_batches:
        name = f"greedy {size}"
        speed = rate(rounds[name], asked.rows)
        shares.append(Spread(*(value / limit for value in (speed.median, speed.least, speed.most))))
        over_both = (cell(over(name, "plain")), cell(over(name, "before")))
        greedy.append((str(size), f"{speed:,.0f}", *over_both, f"{shares[-1]:.2f}"))
    calls = [
        ("forced scoring", "forced", asked.rows),
        ("`decode_rows` by default", "by default", asked.rows),
        ("`decode_rows`, greedy, scores included", "decode_rows", asked.rows),
    ]
    if "without scores" in rounds:
        calls.append(("`decode_rows`, greedy, scores none", "without scores", asked.rows))
    calls += [(f"the nearest of {count}", f"nearest of {count}", _few(asked, count)) for count in asked.candidates]
    rows = [
        (label, f"{rate(rounds[name], count):,.0f}", cell(over(name, "plain")), cell(over(name, "before")))
        for label, name, count in calls
    ]
    largest = f"greedy {asked.micro_batches[-1]}"
    shown = {
        f"engine, greedy, {precision}, over the plain loop": over(largest, "plain"),
        f"engine, greedy, {precision}, over the commit before": over(largest, "before"),
        f"engine, greedy, {precision}, share of the folded roofline": shares[-1],
        f"decode_rows by default, {precision}, over greedy of the commit before": over("by default", "before"),
        f"decode_rows, greedy, with scores, {precision}, over the commit before": over("decode_rows", "before"),
    } | {
        f"the nearest of {n}, {precision}, over the commit before": over(f"nearest of {n}", "before")
        for n in asked.candidates
    }
    grids = [
        Grid(
            f"Greedy, {precision}",
            ("micro-batch", "rows/s", "over the plain loop", "over the commit before", "share of the folded roofline"),
            greedy,
        ),
        Grid(f"The calls, {precision}", ("", "rows/s", "over the plain loop", "over the commit before"), rows),
    ]
    return grids, {name: spread for name, spread in shown.items() if spread is not None}


def _few(asked: Asked, candidates: int) -> int:
    """Rows, where each has so many candidates."""
    return max(1, min(asked.rows, CANDIDATE_ROWS // candidates))


def flops_per_row(config: NetworkConfig, lengths: list[int]) -> float:
    """Of the folded network, for texts of these lengths: a multiplication and an addition each."""
    hidden, heads = config.hidden_dim, config.heads
    read = (hidden + config.gated_units) * config.embedding_dim + heads * (2 * config.head_width + hidden) * hidden
    step = 2 * config.mlp_dim * hidden + config.vocab_size * hidden
    look = heads * (config.head_width + hidden)  # at one position
    mean = sum(length * step + length * (length + 1) / 2 * look for length in lengths) / len(lengths)
    return 2.0 * (read + mean)


def _method(asked: Asked, has_before: bool, precisions: list[str]) -> str:
    before = f"The commit before is `{BEFORE}`, run from a checkout of its own with the same libraries."
    if not has_before:
        before = f"The commit before, `{BEFORE}`, is not in this clone, so it is not compared."
    missing = "" if "bfloat16" in precisions else "This CPU has no bfloat16 instructions, so only float32 is measured."
    return f"""
        {asked.rows:,} rows a round, {asked.rounds} rounds in turns, one core and one thread. The vectors are those of
        the example sentences, repeated. {before} {missing} All is greedy except two things. By default the best of
        five candidates and of their edits is taken, where the commit before decoded greedily. "The nearest of" writes
        32 beams and includes the MiniLM encoder, which embeds so many candidates again. The roofline
        counts the operations of the folded network (a row is read once; a step is three products and the attention),
        and takes as the limit the fastest that `torch.mm` multiplies matrices of these shapes, with 48, 256 or 1,024
        rows, on the same core.
    """
