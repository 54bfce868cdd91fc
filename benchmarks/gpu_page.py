"""What `gpu.py` found, as a section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_ENGINES = ("graph", "graph, large budget", "torch")


def page(found: dict[str, Any]) -> str:
    """The section, in Markdown. What was not measured is a dash."""
    return (
        "\n\n".join(
            [
                "## On a GPU",
                _machine(found),
                _ceilings(found),
                _batches(found),
                _latency(found),
                _pair(found),
                _equality(found),
            ]
        )
        + "\n"
    )


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    told = ", ".join(f"{name} {machine[name]}" for name in ("torch", "CUDA", "commit", "date"))
    return (
        f"{machine['device']} in {machine['precision']}, {told}. `make bench-gpu`: {found['seconds']:.0f} s in all. "
        f"Each number is the median of up to {found['repeats']} runs, after {found['warm_runs']} that warm up. The "
        "embeddings and pieces stay on the device. Peak memory is beside these embeddings and the weights."
    )


def _ceilings(found: dict[str, Any]) -> str:
    top = found["ceilings"]
    products = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in top["products"].items())
    return (
        f"**Ceilings.** Products at the network's shapes, TFLOP/s: {products}. Copying: "
        f"{top['bytes_a_second'] / 1e9:,.3g} GB/s, read and written. The roofline is what these "
        "allow where products and memory overlap perfectly."
    )


def _batches(found: dict[str, Any]) -> str:
    rows = []
    for one in filter(None, found["batches"]):
        rates = [_rate(one.get(name)) for name in _ENGINES]
        memory = [_memory(one.get(name)) for name in _ENGINES[:2]]
        rows.append([f"{one['rows']:,}", f"{one['roofline_rows_a_second']:,.0f}", *rates, *memory])
    head = (
        "rows",
        "roofline, rows/s",
        "graph",
        "graph, large budget",
        "plain loop",
        "peak memory",
        "with the large budget",
    )
    return f"**Rows a second**, from least to most, and the share of the roofline.\n\n{_table(head, rows)}"


def _rate(one: dict[str, Any] | None) -> str:
    if one is None:
        return "–"
    spread = f"{one['least']:,.0f} to {one['most']:,.0f}"
    return f"{one['rows_a_second']:,.0f} ({spread}), {one['share_of_roofline']:.3f}"


def _memory(one: dict[str, Any] | None) -> str:
    return "–" if one is None or one["peak_bytes"] is None else f"{one['peak_bytes'] / 1e6:,.0f} MB"


def _latency(found: dict[str, Any]) -> str:
    rows = [(name, f"{one['median_ms']:.2f}", f"{one['longest_ms']:.2f}") for name, one in found["latency"].items()]
    return f"**One embedding.**\n\n{_table(('engine', 'median, ms', 'longest, ms'), rows)}"


def _pair(found: dict[str, Any]) -> str:
    rows = []
    for one in filter(None, found["pair"]):
        ours, plain = one["graph"], one["torch"]
        rows.append(
            [
                one["architecture"], f"{one['rows']:,}", f"{one['pieces']:.1f}", f"{ours['rows_a_second']:,.0f}",
                f"{plain['rows_a_second']:,.0f}", _memory(ours),
            ]
        )  # fmt: skip
    head = ("network", "rows", "pieces a row", "graph, rows/s", "plain loop, rows/s", "peak memory")
    return (
        "**v2.1 beside v2.0.** Random weights, texts as long as the example sentences in each one's own pieces.\n\n"
        f"{_table(head, rows)}"
    )


def _equality(found: dict[str, Any]) -> str:
    rows = [
        (
            one["precision"], f"{one['rows']:,}", f"{one['rows_that_differ']:,}", f"{one['nats_a_piece_apart']:.2g}",
            f"{one['most_nats_apart']:.2g}",
        )
        for one in found["equality"]
    ]  # fmt: skip
    head = ("precision", "rows", "other pieces than the plain loop", "nats a piece apart, mean", "most")
    reasons = "; ".join(dict.fromkeys(one["engine"] for one in found["equality"]))
    told = f"with the plain loop on the same device in the same precision ({reasons})"
    return f"**Equality**, {told}.\n\n{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
