"""Which piece comes next."""

from __future__ import annotations

import torch
from torch import Tensor

from unembed.models.decoder.sampling import (
    Sampler,
    forbid_repeats,
    gumbel,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise,
)
from unembed.models.decoder.tokenizer import PAD
from unembed.schemas import DecodeOptions

GREEDY = Sampler(DecodeOptions(), 0)
NO_HISTORY = torch.zeros((1, 0), dtype=torch.int64)


def test_greedy_takes_the_likeliest_piece_but_never_padding() -> None:
    logits = torch.tensor([[9.0, 1.0, 3.0, 2.0]])
    assert PAD == 0
    assert GREEDY.choose(logits, NO_HISTORY, GREEDY.keys(torch.tensor([0])), 0).tolist() == [2]


def test_a_draw_depends_on_seed_row_and_position_and_on_nothing_else() -> None:
    # Given the same logits for rows 5, 6 and 7
    logits = torch.randn(1, 64).expand(3, 64)
    history = torch.zeros((3, 0), dtype=torch.int64)
    sampler = Sampler(DecodeOptions(temperature=1.0), seed=11)
    # When they are drawn together, and row 6 alone
    together = sampler.choose(logits, history, sampler.keys(torch.tensor([5, 6, 7])), 4)
    alone = sampler.choose(logits[:1], history[:1], sampler.keys(torch.tensor([6])), 4)
    # Then row 6 has drawn the same
    assert together[1] == alone[0]


def noise(seed: int, rows: list[int], position: int = 0, candidates: list[int] | None = None) -> Tensor:
    numbers = None if candidates is None else torch.tensor(candidates)
    return gumbel(Sampler(DecodeOptions(), seed).keys(torch.tensor(rows), numbers), position, 32)


def test_noise_differs_between_seeds_rows_and_positions() -> None:
    plain = noise(0, [0, 1])
    assert not torch.equal(plain[0], plain[1])
    assert not torch.equal(plain, noise(1, [0, 1]))
    assert not torch.equal(plain, noise(0, [0, 1], position=1))
    assert torch.isfinite(noise(2**63 - 1, [0, 1])).all()


def test_candidate_0_draws_what_a_row_without_candidates_draws_and_the_others_draw_their_own() -> None:
    # Given three candidates of one row, over eight positions
    drawn = torch.stack([noise(3, [7, 7, 7], position, [0, 1, 2]) for position in range(8)])  # (8, 3, V)
    # Then the first draws as the row alone would
    assert torch.equal(drawn[:, 0], torch.stack([noise(3, [7], position)[0] for position in range(8)]))
    # And no two of the 24 draws are the same, at no shift of positions either
    assert len({tuple(row) for row in drawn.flatten(0, 1).tolist()}) == 24


def test_draws_follow_the_probabilities() -> None:
    # Given three pieces of probability .5, .3 and .2, drawn for 20,000 rows
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    drawn = (logits + gumbel(Sampler(DecodeOptions(), 7).keys(torch.arange(20_000)), 0, 3)).argmax(dim=-1)
    # Then the shares are those, within five standard deviations (0.018)
    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.018, rtol=0.0)


def test_top_k_keeps_k_pieces() -> None:
    kept = keep_top_k(torch.tensor([[1.0, 4.0, 3.0, 2.0]]), 2)
    assert torch.isfinite(kept).tolist() == [[False, True, True, False]]


def test_top_p_keeps_the_smallest_set_that_reaches_p_and_at_least_one() -> None:
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log()
    assert torch.isfinite(keep_top_p(logits, 0.7)).tolist() == [[False, True, True]]
    assert torch.isfinite(keep_top_p(logits, 0.01)).tolist() == [[False, True, False]]


def test_min_p_keeps_what_is_near_the_likeliest_and_always_the_likeliest() -> None:
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log()
    assert torch.isfinite(keep_min_p(logits, 0.4)).tolist() == [[False, True, True]]
    assert torch.isfinite(keep_min_p(logits, 1.0)).tolist() == [[False, True, False]]


def test_the_repetition_penalty_lowers_what_was_used() -> None:
    lowered = penalise(torch.tensor([[2.0, -2.0, 2.0]]), torch.tensor([[0, 1]]), 2.0)
    assert lowered.tolist() == [[1.0, -4.0, 2.0]]


def test_no_piece_completes_an_ngram_that_was_there() -> None:
    # Given the history 5 6 7 5 6, when no trigram may come twice, then 7 may not follow
    banned = forbid_repeats(torch.zeros(1, 9), torch.tensor([[5, 6, 7, 5, 6]]), 3)
    assert torch.isinf(banned).nonzero().tolist() == [[0, 7]]
