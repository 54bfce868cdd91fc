"""A site a database, kept over the session, and a `fault` for each test: who was hit, and whether all is well."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy

from tests.conftest import DATABASES
from tests.faults import report
from tests.faults.parts import Process
from tests.faults.rig import Load, Site, gone, running_site
from tests.worker.processes import await_
from unembed.models.store.sql import BATCHES, GENERATIONS
from unembed.schemas import Batch, BatchState, RowStatus

WITHIN = 45.0  # seconds for everything to end; a healthy site needs a tenth of it
TIDY_WITHIN = 15.0  # seconds for what is left over to go

_inflictions = pytest.StashKey[list[report.Infliction]]()


class Fault:
    """One infliction of a fault on a site."""

    def __init__(self, name: str, until: report.Until, site: Site, collected: list[report.Infliction]) -> None:
        self.name = name
        self.until = until
        self.site = site
        self.strikes = 0
        self.recoveries: list[float] = []  # seconds, once all has ended
        self._collected = collected
        self._hits: list[tuple[str, datetime]] = []
        self._recovered: dict[tuple[str, datetime], float] = {}

    def strikes_now(self, *hit: Batch, strikes: int = 1, at: datetime | None = None) -> None:
        """To be called at the moment of the fault, or with that moment, and with the batches that it hits."""
        self.strikes += strikes
        at = at or datetime.now(UTC)
        self._hits += [(batch.id, at) for batch in hit]

    def strikes_at(self, deaths: Sequence[tuple[str, float]]) -> None:
        """The same, told afterwards: the batches, and the moments as seconds since 1970."""
        assert deaths, "the fault has struck"
        self.strikes += len(deaths)
        self._hits += [(batch_id, datetime.fromtimestamp(at, UTC)) for batch_id, at in deaths]

    def observe(self) -> None:
        """To be called now and then where a batch may be hit twice: when it was queued again is overwritten then."""
        waited = {hit: at for hit, at in self._hits if (hit, at) not in self._recovered}
        if self.until == "finished" or not waited:
            return
        queued = sqlalchemy.select(BATCHES.c.id, BATCHES.c.queued_at).where(BATCHES.c.id.in_(waited))
        with self.site.engine.connect() as connection:
            for batch_id, queued_at in connection.execute(queued):
                if queued_at > waited[batch_id]:
                    self._recovered[batch_id, waited[batch_id]] = (queued_at - waited[batch_id]).total_seconds()

    def not_hit_yet(self, batches: Sequence[Batch]) -> list[Batch]:
        """A batch that is hit twice recovers from the first fault, which takes the longer."""
        hit = {batch_id for batch_id, _ in self._hits}
        return [batch for batch in batches if batch.id not in hit]

    def ends_well(
        self, *loads: Load, dead: Sequence[str] = (), errors: Sequence[int] = (), gone_too: Sequence[Process] = ()
    ) -> None:
        """Every batch ends as done, but for those named as dead; every row of the done ones is there, once and right
        (those at the indices in `errors` as error rows); no payload, message or process is left behind."""
        site = self.site
        self._await_end(loads)
        self.observe()
        batches = [batch for load in loads for batch in site.batches(load)]
        rows = [_rows(site, load) for load in loads]
        expected = [_expected(site, load, errors) for load in loads]
        right = sum(len(set(found) & set(wanted)) for found, wanted in zip(rows, expected, strict=True))
        ended = {batch.id: batch for batch in batches}
        infliction = report.Infliction(
            fault=self.name,
            database=site.database,
            batches=len(batches),
            kills=self.strikes,
            expected=sum(map(len, expected)),
            found=right,
            duplicates=sum(len(found) - len(set(found)) for found in rows),
            stuck=sum(not batch.state.is_ended for batch in batches),
            attempts=max(batch.attempt for batch in batches),
            recoveries=[
                seconds
                for hit, at in self._hits
                if hit in ended and (seconds := self._seconds(ended[hit], at)) is not None
            ],
        )
        self._collected.append(infliction)
        self.recoveries = infliction.recoveries
        assert infliction.stuck == 0
        assert {batch.id for batch in batches if batch.state is BatchState.DEAD} == set(dead)
        assert {batch.state for batch in batches} <= {BatchState.DONE, BatchState.DEAD, BatchState.CANCELLED}
        assert all(batch.attempt <= batch.max_attempts for batch in batches)
        assert rows == expected
        for load in loads:
            committed = [batch for batch, _ in site.commits(load)]
            assert len(committed) == len(set(committed)), "no batch was committed by two attempts"
        self.leaves_nothing_behind(dead, gone_too)

    def _await_end(self, loads: Sequence[Load]) -> None:
        """Of all jobs, or of patience: what is stuck then is reported as such."""
        deadline = time.monotonic() + WITHIN
        while not all(self.site.store.jobs.get(load.job_id).state.is_ended for load in loads):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def _seconds(self, batch: Batch, at: datetime) -> float | None:
        """None: it has not recovered."""
        if (batch.id, at) in self._recovered:
            return self._recovered[batch.id, at]
        return None if batch.finished_at is None else (batch.finished_at - at).total_seconds()

    def leaves_nothing_behind(self, dead: Sequence[str] = (), gone_too: Sequence[Process] = ()) -> None:
        site = self.site
        await_(lambda: site.payload_keys() <= set(dead), TIDY_WITHIN, f"no payload is left but of {dead}")
        await_(lambda: site.messages()[0] == 0, TIDY_WITHIN, "no message is left")
        for process in (*site.processes, *gone_too):
            gone(process.gone)


Row = tuple[int, str, str | None, str]


def _rows(site: Site, load: Load) -> list[Row]:
    """Every row of the job that is in the table, by its index: index, batch, text, status."""
    index = GENERATIONS.c["index"]
    statement = sqlalchemy.select(index, GENERATIONS.c.batch_id, GENERATIONS.c.text, GENERATIONS.c.status)
    with site.engine.connect() as connection:
        found = connection.execute(statement.where(GENERATIONS.c.job_id == load.job_id).order_by(index))
        return [tuple(row) for row in found]


def _expected(site: Site, load: Load, errors: Sequence[int]) -> list[Row]:
    """The rows of all batches that are done, as the decoder writes them."""
    return [
        (index, batch.id, None if index in errors else load.texts[index], _status(index, errors))
        for batch in site.batches(load, BatchState.DONE)
        for index in range(batch.first_index, batch.first_index + batch.rows)
    ]


def _status(index: int, errors: Sequence[int]) -> str:
    return RowStatus.ERROR if index in errors else RowStatus.OK


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(name, until=, once=, on=): what the test inflicts, as the report calls it"
    )
    config.stash.setdefault(_inflictions, [])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rounds = metafunc.config.getoption("--rounds")
    marker = metafunc.definition.get_closest_marker("fault")
    if rounds > 1 and marker is not None and not marker.kwargs.get("once"):
        metafunc.parametrize("round_number", range(rounds))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A fault that does not touch the database is inflicted with one of them; for the report, with both."""
    if not config.getoption("--faults-out"):
        items[:] = [item for item in items if _database(item) in (None, _wanted(item))]


def _database(item: pytest.Item) -> str | None:
    given: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    database = given.get("_running_site")
    return None if database is None else str(database)


def _wanted(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("fault")
    named = marker.kwargs.get("on") if marker is not None else None
    return _database(item) if named is None else str(named)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = report.lines(config.stash[_inflictions])
    if not found:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(report.table(found))
    terminalreporter.write_line(report.NOTE)
    if folder := config.getoption("--faults-out"):
        report.write(Path(folder), found)


@pytest.fixture(scope="session", params=DATABASES)
def _running_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(request.param, tmp_path_factory.mktemp(f"site-{request.param}")) as site:
        yield site


@pytest.fixture
def site(_running_site: Site) -> Site:
    """Everything runs; what an earlier test killed was started again, and what it left is gone."""
    _running_site.mend()
    _running_site.clear()
    return _running_site


@pytest.fixture
def soak_batches(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--soak-batches"))


@pytest.fixture
def round_number() -> int:
    """Which of the inflictions of `--rounds` it is."""
    return 0


@pytest.fixture
def fault(request: pytest.FixtureRequest, site: Site, round_number: int) -> Fault:
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "the test says what it inflicts: @pytest.mark.fault"
    until = marker.kwargs.get("until", "finished")
    return Fault(marker.args[0], until, site, request.config.stash[_inflictions])
