"""The pool of codes: filled first, then exchanged with an even chance; its state travels."""

import torch

from idinvert.training.latent_gan import CodePool


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].repeat(1, 2)


def by_hand(
    pool: list[float], size: int, codes: list[float], rng: torch.Generator
) -> tuple[list[float], list[float]]:
    """The pool of e4e, one code at a time."""
    coins = torch.rand(len(codes), generator=rng)
    places = torch.randint(0, size, (len(codes),), generator=rng)
    pool, answers = list(pool), []
    for code, coin, place in zip(codes, coins, places, strict=True):
        if len(pool) < size:
            pool.append(code)
            answers.append(code)
        elif coin < 0.5:
            answers.append(pool[place])
            pool[place] = code
        else:
            answers.append(code)
    return pool, answers


def test_it_exchanges_as_written_out():
    pool, expected = CodePool(size=5, features=2), []
    for step in range(12):
        codes = numbered(3 * step, 3)
        rngs = [torch.Generator().manual_seed(step) for _ in range(2)]
        answers = pool.exchange(codes, rng=rngs[0])
        expected, given = by_hand(expected, 5, codes[:, 0].tolist(), rngs[1])
        assert answers[:, 0].tolist() == given
        assert pool.codes[: pool.filled, 0].tolist() == expected
        torch.testing.assert_close(answers[:, 0], answers[:, 1])
    assert pool.filled == 5


def test_about_half_come_back_as_they_are():
    pool = CodePool(size=50, features=2)
    rng = torch.Generator().manual_seed(0)
    pool.exchange(numbered(0, 50), rng=rng)
    codes = numbered(50, 2000)
    same = (pool.exchange(codes, rng=rng) == codes).all(1).float().mean()
    assert 0.45 < same < 0.55


def test_no_pool_gives_back_what_it_is_given():
    pool, codes = CodePool(size=0, features=2), numbered(0, 3)
    assert pool.exchange(codes, rng=torch.Generator()) is codes


def test_its_state_travels_and_its_memory_stays():
    pool, twin = CodePool(size=4, features=2), CodePool(size=4, features=2)
    memory = pool.codes.data_ptr()
    pool.exchange(numbered(0, 3), rng=torch.Generator().manual_seed(0))
    twin.load_state_dict(pool.state_dict())
    assert (twin.filled, twin.codes.tolist()) == (3, pool.codes.tolist())
    answers = [
        one.exchange(numbered(9, 6), rng=torch.Generator().manual_seed(1)).tolist()
        for one in (pool, twin)
    ]
    assert answers[0] == answers[1] and pool.codes.data_ptr() == memory
