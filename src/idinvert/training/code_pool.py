"""A pool of earlier codes that a latent discriminator is shown among the newest."""

import torch
from torch import Tensor, nn


class CodePool(nn.Module):
    """Keeps ``size`` codes; half of what it is given comes back as it is, half as an older one.

    The first codes fill the pool and come back as they are. Later each has an even chance of
    taking a random place in the pool, and then the one that lay there comes back in its stead.
    The pool travels in the state dict, so that a resumed run goes on with the same codes.

    Args:
        size: Number of codes; 0 gives back every code as it is.
        features: Length of a code.

    Source:
        The pool of e4e (Tov et al. 2021, arXiv 2102.02766), after Shrivastava et al. 2017.
    """

    codes: Tensor

    def __init__(self, *, size: int, features: int) -> None:
        super().__init__()
        self.size, self.filled = size, 0
        self.register_buffer("codes", torch.zeros(size, features))

    def get_extra_state(self) -> dict[str, int]:
        """How many places are taken, for ``state_dict``."""
        return {"filled": self.filled}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Takes that number back from ``load_state_dict``."""
        self.filled = int(state["filled"])

    @torch.no_grad()
    def exchange(self, codes: Tensor, *, rng: torch.Generator) -> Tensor:
        """Puts codes in, one after the other, and gives as many back.

        Args:
            codes: ``[N, features]``.
            rng: Where the coins and the places come from; on the CPU, so that all ranks and
                devices agree.

        Returns:
            ``[N, features]``.
        """
        if self.size == 0:
            return codes
        coins = torch.rand(len(codes), generator=rng, dtype=torch.float32).tolist()
        places = torch.randint(0, self.size, (len(codes),), generator=rng).tolist()
        held = list(range(self.filled))  # of each place: a row of `both`
        answers = []
        for n, (coin, place) in enumerate(zip(coins, places, strict=True)):
            new = self.size + n
            if len(held) < self.size:
                held.append(new)
                answers.append(new)
            elif coin < 0.5:
                answers.append(held[place])
                held[place] = new
            else:
                answers.append(new)
        both = torch.cat([self.codes, codes.to(self.codes.dtype)])
        self.codes[: len(held)] = both[held]  # in place: other ranks know the buffer by its memory
        self.filled = len(held)
        return both[answers]
