"""Training with D_w, which discriminates codes of the generator from codes of the encoder."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from idinvert.annotations import Count, PositiveFloat, PositiveInt, Weight
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import mapped
from idinvert.losses.domain_guided import adversarial_term, discriminator_loss, dtype_of
from idinvert.networks.generator import truncate
from idinvert.networks.latent_discriminator import LatentDiscriminator
from idinvert.training.clock import random_stream
from idinvert.training.domain_guided import DomainGuidedTraining
from idinvert.training.latents import draw_labels
from idinvert.training.objective import adam, lazy_ratio

INPUTS = ("layer", "whole")


class LatentAdversary(nn.Module):
    """A discriminator of codes: M(z) with z from N(0, I) is real, E(x) is fake.

    Args:
        num_layers: L of the generator.
        w_dim: Length of one layer's code.
        w_input: ``"layer"``: D_w sees the code of one random layer; ``"whole"``: the codes of all
            layers together, including whether they are consistent.
        pool_size: Number of earlier codes of each kind that D_w may be shown again; 0 for none.
        truncation: psi of the real codes; 1 leaves M(z) unchanged.
        r1_gamma: Gamma of R1 on the real codes.
        r1_every: Steps between two penalties; each is multiplied by ``r1_every``.
        seed: Seed of z, the choice of layers and the pools.

    Raises:
        ConfigError: Unknown ``w_input``.

    Source:
        Tov et al. 2021 (arXiv 2102.02766).

    Differs from the paper:
        e4e has one w for all layers and thus only ``"layer"``. Where M gives every layer its own
        w, the real and the fake code of one image are of the same layer. e4e updates D_w before E,
        on codes encoded for that step; here D_w is updated after E, on the codes of E's step. The
        published code leaves w-bar out of the fakes (encoder4editing issue 19); here it is in them.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        w_dim: int,
        w_input: Literal["layer", "whole"],
        pool_size: Count,
        truncation: float,
        r1_gamma: Weight,
        r1_every: int,
        seed: int,
    ) -> None:
        super().__init__()
        if w_input not in INPUTS:
            raise ConfigError(
                f"latent discriminator: got w_input {w_input!r}, expected one of {list(INPUTS)}; "
                "change objective.w_input"
            )
        features = w_dim if w_input == "layer" else w_dim * num_layers
        self.network = LatentDiscriminator(features=features, width=w_dim)
        self.real_pool = CodePool(size=pool_size, features=features)
        self.fake_pool = CodePool(size=pool_size, features=features)
        self.w_input, self.truncation = w_input, truncation
        self.r1_gamma, self.r1_every, self.seed = r1_gamma, r1_every, seed

    def adam(self, *, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
        """Returns Adam for D_w, corrected for lazy regularisation."""
        ratio = lazy_ratio(self.r1_every, gamma=self.r1_gamma)
        return adam(self.network, lr=lr, betas=betas, ratio=ratio)

    def term(self, codes: Tensor, *, layers: int) -> Tensor:
        """Returns E's loss for codes ``[N, L, w_dim]``: the mean over images and first ``layers``.

        With ``w_input="whole"`` it is the mean over images only.
        """
        whole = self.w_input == "whole"
        shown = codes.flatten(1) if whole else codes[:, :layers].flatten(0, 1)
        return adversarial_term(self.network, shown, kind="logistic")

    def step(self, module: Any, codes: Tensor, *, layers: int, optimizer: Any) -> dict[str, Tensor]:
        """Runs one step of D_w on the codes of E's step.

        Every rank draws the codes of all ranks, puts them into its pools, and then uses its own
        share. Several ranks thus compute what one would, and their pools stay identical. Codes
        need little memory, so micro-batches are not used.

        Args:
            module: The `EncoderTraining`, with the frozen G.
            codes: E(x) of this rank, ``[N, L, w_dim]``, without a graph.
            layers: D_w sees one of the first ``layers`` layers; only with ``w_input="layer"``.
            optimizer: Optimiser of D_w.

        Returns:
            The detached terms of `losses.domain_guided.discriminator_loss`, with ``latent_``
            before their names.
        """
        ranks = module.trainer.world_size

        def loss_of(codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            real, fake = self._real_and_fake(module, codes, layers=layers)
            loss, terms = discriminator_loss(
                self.network,
                real,
                fake,
                kind="logistic",
                r1_gamma=self.r1_gamma,
                r1_every=self.r1_every,
                step=module.nimg // (len(codes) * ranks),
            )
            return loss, {name.replace("/", "/latent_"): value for name, value in terms.items()}

        return module.descend(optimizer, loss_of, codes)

    @torch.no_grad()
    def _real_and_fake(self, module: Any, codes: Tensor, *, layers: int) -> tuple[Tensor, Tensor]:
        """Returns D_w's input on this rank: codes of M and codes of E, each ``[N, features]``."""
        generator, ranks = module.generator, module.trainer.world_size
        count, dtype = len(codes), dtype_of(self.network)
        rng = random_stream(purpose="latent adversary", seed=self.seed, nimg=module.nimg)
        shape = (count * ranks, generator.z_dim)
        z = torch.randn(shape, generator=rng, dtype=torch.float32)  # whatever the precision
        layer = torch.randint(0, layers, (len(z),), generator=rng).to(codes.device)
        labels = draw_labels(generator, len(z), rng=rng).to(codes.device, dtype)
        w = mapped(generator, z.to(codes.device, dtype), labels)  # [N * ranks, L, w_dim]
        w = truncate(w, generator.w_avg, self.truncation)
        real = self.real_pool.exchange(self._shown(w, layer), rng=rng)
        codes = codes.to(dtype)
        of_all = module.all_gather(codes).flatten(0, 1) if ranks > 1 else codes
        fake = self.fake_pool.exchange(self._shown(of_all, layer), rng=rng)
        mine = slice(module.global_rank * count, (module.global_rank + 1) * count)
        return real[mine], fake[mine]

    def _shown(self, codes: Tensor, layer: Tensor) -> Tensor:
        """Returns codes ``[N, L, w_dim]`` as input of D_w: layer ``layer[n]``, or all layers."""
        if self.w_input == "whole":
            return codes.flatten(1)
        return codes[torch.arange(len(codes), device=codes.device), layer]


class CodePool(nn.Module):
    """A pool of ``size`` earlier codes; half of the codes put in are exchanged for older ones.

    The first codes fill the pool and are returned unchanged. After that, each code has an even
    chance of replacing a random code of the pool, which is then returned in its place. The pool is
    part of the state dict, so that a resumed run continues with the same codes.

    Args:
        size: Number of codes; 0 returns every code unchanged.
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
        """Returns the number of codes in the pool, for ``state_dict``."""
        return {"filled": self.filled}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Restores that number from ``load_state_dict``."""
        self.filled = int(state["filled"])

    @torch.no_grad()
    def exchange(self, codes: Tensor, *, rng: torch.Generator) -> Tensor:
        """Puts codes in, one after the other, and returns as many.

        Args:
            codes: ``[N, features]``.
            rng: Random generator on the CPU, so that all ranks and devices agree.

        Returns:
            ``[N, features]``.
        """
        if self.size == 0:
            return codes
        coins = torch.rand(len(codes), generator=rng, dtype=torch.float32).tolist()
        places = torch.randint(0, self.size, (len(codes),), generator=rng).tolist()
        held = list(range(self.filled))  # for each place of the pool: a row of `both`
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
        self.codes[: len(held)] = both[held]  # in place: DDP holds the buffer's memory
        self.filled = len(held)
        return both[answers]


class LatentGanTraining(DomainGuidedTraining, without={"refresh_fakes"}):
    """Trains E against D of images, if there is one, and D_w of codes, around a frozen G.

    In addition to `DomainGuidedTraining` there is D_w, which discriminates E(x) from M(z) with z
    from N(0, I), and which E learns to deceive.

    Arguments that are not listed here are those of `DomainGuidedTraining`.

    Args:
        lambda_w: Weight of D_w's term; 0 leaves it out of E's loss.
        w_r1_every: Steps of D_w between two penalties; each is multiplied by ``w_r1_every``.
        w_input: See `LatentAdversary`.
        pool_size: Number of earlier codes that D_w may be shown again; 0 for none.
        truncation: psi of the codes of M.
        w_lr_ratio: D_w's learning rate as a fraction of that of E and D.

    Raises:
        ConfigError: Unknown ``adversarial`` or ``w_input``.
    """

    def __init__(
        self,
        *,
        lambda_w: Weight,
        w_r1_every: PositiveInt,
        w_input: Literal["layer", "whole"],
        pool_size: Count,
        truncation: float,
        w_lr_ratio: PositiveFloat,
        **shared: Any,
    ) -> None:
        super().__init__(refresh_fakes=False, **shared)
        self.latent_adversary = LatentAdversary(
            num_layers=self.generator.num_layers,
            w_dim=self.generator.w_dim,
            w_input=w_input,
            pool_size=pool_size,
            truncation=truncation,
            r1_gamma=self.r1_gamma,
            r1_every=w_r1_every,
            seed=self.seed,
        )
        self.lambda_w, self.w_lr_ratio = lambda_w, w_lr_ratio

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """Networks that a finished run saves in its ``weights`` folder, by name."""
        return super().trained_networks | {"latent_discriminator": self.latent_adversary.network}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns Adam for E, for D if there is one, and for D_w, with lazy regularisation."""
        of_w = self.latent_adversary.adam(lr=self.lr * self.w_lr_ratio, betas=self.betas)
        return [*super().configure_optimizers(), of_w]

    def code_terms(self, codes: Tensor) -> dict[str, Tensor]:
        """Returns D_w's term, which is added to those of Eq. (2)."""
        paid = self.latent_adversary.term(codes, layers=self.layers)
        return {"loss/latent_adversarial": self.lambda_w * paid}

    def step_on_codes(self, codes: Tensor, optimizer: Any) -> dict[str, Tensor]:
        """Runs one step of D_w."""
        return self.latent_adversary.step(self, codes, layers=self.layers, optimizer=optimizer)
