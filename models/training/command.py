"""The `unembed train` command that a plan is, word by word: on a card it repeats the run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Check, Recipe

_DIGEST: Final = 16  # characters of a base's sha256
_DEFAULT: Final = Plan("", Path(), (), (), None, "not stated", Recipe())
_OF_PLAN: Final = {
    "licence": "--licence",
    "architecture": "--architecture",
    "passes": "--passes",
    "gated_units": "--gated-units",
    "max_pieces": "--max-pieces",
    "report_every": "--report-every",
    "score_rows": "--score-rows",
}  # the options of fields that are not the recipe's


def command_of(plan: Plan, recipe: Recipe, threads: int | None = None) -> list[str]:
    """Its words. With `threads`, those that say on what it ran too: other threads, and other devices, add up otherwise.

    A base is named with the beginning of the sha256 of its weights, and is refused where it is another. Passwords and
    queries of URLs are left out.
    """
    words = ["unembed", "train"]
    words += [word for one in plan.train for word in ("--set", one.word)]
    words += [word for one in plan.dev for word in ("--dev", one.word)]
    words += ["--encoder", plan.encoder] if plan.encoder else []
    if plan.start_from:
        digest = f"@{recipe.base.sha256[:_DIGEST]}" if recipe.base and "@" not in plan.start_from else ""
        words += ["--start-from", f"{plan.start_from}{digest}"]
    for name, option in _OF_PLAN.items():
        if (value := getattr(plan, name)) != getattr(_DEFAULT, name) and value != "":
            words += [option, str(value)]
    words += recipe.flags()
    words += ["--check", plan.check] if plan.check is Check.NO else []
    words += [] if threads is None else ["--device", plan.device, "--threads", str(threads)]
    return [*words, "--out", str(plan.folder)]


def shown_command(words: list[str]) -> str:
    """For a shell, an option a line."""
    lines = [" ".join(words[:2])]
    for option, value in zip(words[2::2], words[3::2], strict=True):
        lines.append(f"{option} {shlex.quote(value)}")
    return " \\\n    ".join(lines)
