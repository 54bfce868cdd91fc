"""The path without a decoder: through all of it, and from the database into a file, against doing only that by hand."""

from __future__ import annotations

from benchmarks import echo, results
from benchmarks.asked import Asked, say
from benchmarks.measuring import Spent, Spread, ratio
from benchmarks.report import Grid, Section

ROUNDS = 3
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def measure(asked: Asked) -> Section:
    rounds = min(ROUNDS, asked.rounds)
    headlines: dict[str, Spread] = {}
    lines = []
    for database, name in DATABASES.items():
        say(f"the path around a decoder that answers at once, {name}")
        ours, plain = (
            [Spent(one.wall, one.total) for one in each]
            for each in echo.measure(database, asked.echo_rows, asked.echo_batches, rounds, flower=False)
        )
        rows = asked.echo_rows * asked.echo_batches
        speed = Spread.of([rows / one.wall for one in ours])
        share, cpu = ratio(plain, ours, "wall"), ratio(plain, ours)
        lines.append((name, f"{speed:,.0f}", str(share), str(cpu)))
        headlines[f"rows/s without a decoder, as a share of raw Redis and {name}"] = share
    say("results into a file")
    found = results.measure(asked.result_rows, rounds)
    if not found.same:
        raise ValueError("the two files of results differ")
    headlines["time of results into a file, over SELECT into a file (a cost)"] = found.wall
    return Section(
        "The path without a decoder",
        [
            Grid(
                f"{asked.echo_batches} batches of {asked.echo_rows:,} rows, of raw Redis and database",
                ("", "rows/s on the clock", "rows/s, share", "CPU, share"),
                lines,
            ),
            Grid(
                f"{asked.result_rows:,} rows of results into a .parquet file, over SELECT into the same file",
                ("time", "CPU"),
                [(str(found.wall), str(found.cpu))],
            ),
        ],
        f"""
        {rounds} rounds in turns. The decoder answers at once with texts that it has at hand, so that only the path is
        left: client, API, Redis, worker, database and results. Beside it one process puts the same payloads into the
        same Redis, takes them out, inserts the same rows into the same table with executemany or COPY, a commit a
        batch, and selects them. A share of 0.5 is half as fast as that. Results into a file go through the API and the
        client, and beside that from a SELECT in the same process, on SQLite (`benchmarks/echo.py`,
        `benchmarks/results.py`).

        """,
        headlines,
    )
