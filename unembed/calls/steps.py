"""The steps of a flow, and how one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx2.Response], T]  # raises ValueError for what it cannot read
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    patience: float = 0.0  # seconds by which the answer may be later than others: the server waits for news
    fine: frozenset[int] = frozenset()  # statuses that are answers, too, and no errors


@dataclass(frozen=True)
class Sending:
    """A call is sent once. Gives the response, whatever it is; raises what the HTTP library raises."""

    call: Call[Any]


@dataclass(frozen=True)
class Pause:
    """Gives whether somebody wants it all to end."""

    seconds: float


@dataclass(frozen=True)
class LocalWork(Generic[T]):
    """What may take a while without any request: reading a file. Gives what it returns."""

    do: Callable[[], T]


@dataclass(frozen=True)
class OneOfMany:
    """One of many calls, made when its turn comes; none: there is nothing to send."""

    rows: int
    call: Callable[[], Call[Any] | None]


@dataclass(frozen=True)
class Many:
    """All parts are sent, some at once. `settled` is told of the rows of each in their order."""

    parts: Iterator[OneOfMany]
    settled: Callable[[int], object]


Step: TypeAlias = Call[Any] | Sending | Pause | LocalWork[Any] | Many
Flow: TypeAlias = Generator[Step, Any, T]


def ask(call: Call[T]) -> Flow[T]:
    """What a server answers: `job = yield from ask(requests.job(job_id))`."""
    answer: T = yield call
    return answer


def work(do: Callable[[], T]) -> Flow[T]:
    done: T = yield LocalWork(do)
    return done
