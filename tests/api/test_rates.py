from __future__ import annotations

import pytest

from unembed.api.rates import Rates
from unembed.errors import BusyError


def test_requests_come_back_as_time_goes_by() -> None:
    # Given a client that has used its 60 requests of this minute up
    now = 0.0
    rates = Rates(clock=lambda: now)
    for _ in range(60):
        rates.take("client", 60)
    with pytest.raises(BusyError, match="60 requests") as refused:
        rates.take("client", 60)
    assert refused.value.retry_after == 1
    # When a second has passed, Then there is one again
    now = 1.0
    rates.take("client", 60)
    with pytest.raises(BusyError):
        rates.take("client", 60)
