"""Edit directions as normals of linear SVMs that separate codes by score (InterFaceGAN)."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import mapped
from idinvert.networks.attributes import AttributeNetwork

FEWEST = 10


def train_direction(
    codes: Tensor,
    scores: Tensor,
    *,
    name: str,
    fraction: float = 0.02,
    holdout: float = 0.3,
    solver: Literal["svc", "linear_svc"] = "svc",
    cost: float = 1.0,
    seed: int = 0,
    layers: tuple[int, ...] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Direction:
    """Find the direction in which an attribute increases, from the highest and lowest scores.

    The codes are sorted by score; the top and the bottom `fraction` are labelled 1 and 0. A share
    of them is held out, a linear SVM separates the rest, and its normal, which points to high
    scores, is scaled to length 1. For codes [N, L, w] each layer has its own SVM, as in the
    authors' boundary files. Source: Sec. 4.3, which follows InterFaceGAN.

    Differs from the paper: the SVM's cost, solver and split are InterFaceGAN's; the paper does not
    state them.

    Args:
        codes: w, float [N, w_dim], or [N, L, w_dim] for one normal per layer.
        scores: the attribute's score for every image, float [N].
        name: the attribute.
        fraction: share of the codes taken from each end, above 0 and up to 0.5.
        holdout: share of those held out to measure the accuracy, in [0, 1).
        solver: "svc" (libsvm, as InterFaceGAN) or "linear_svc" (liblinear, for many codes).
        cost: the SVM's C.
        seed: seed of the split.
        layers: the layers that an edit moves; None for all.
        provenance: facts to store with it; `accuracy` (held out, per layer), `solver`, `cost`,
            `fraction`, `n` and `seed` are added.

    Returns:
        The direction, [1, w_dim] or [L, w_dim].

    Raises:
        ConfigError: a shape or value is invalid, there are too few codes, or the two ends share a
            score.
    """
    if codes.ndim not in (2, 3) or scores.shape != codes.shape[:1]:
        raise ConfigError(
            f"got codes {list(codes.shape)} and scores {list(scores.shape)}: expected [N, w_dim] "
            "or [N, L, w_dim] and [N]"
        )
    if not 0 < fraction <= 0.5 or not 0 <= holdout < 1:
        raise ConfigError(
            f"got fraction={fraction}, holdout={holdout}: expected fraction in (0, 0.5] and "
            "holdout in [0, 1); change task.fraction"
        )
    if not (torch.isfinite(codes).all() and torch.isfinite(scores).all()):
        raise ConfigError(f"codes or scores for direction {name!r} are not finite")
    ends = int(len(scores) * fraction)
    if ends < FEWEST:
        raise ConfigError(
            f"{fraction:g} of {len(scores)} codes are {ends}: expected at least {FEWEST} at either "
            "end; use more codes (task.samples) or a larger task.fraction"
        )
    order = torch.argsort(scores.cpu(), stable=True)
    low, high = order[:ends], order[-ends:]
    if scores[low].max() >= scores[high].min():
        raise ConfigError(
            f"the lowest and the highest {ends} scores of {name!r} meet at "
            f"{scores[high].min():.4g}: they do not tell two groups apart; use a smaller "
            "task.fraction"
        )
    rng = np.random.default_rng(seed)
    held = int(ends * holdout)
    low, high = (end[torch.from_numpy(rng.permutation(ends))] for end in (low, high))
    train = torch.cat([low[held:], high[held:]])
    test = torch.cat([low[:held], high[:held]])
    y = np.repeat([0, 1], ends - held)
    y_test = np.repeat([0, 1], held)

    from sklearn.svm import SVC, LinearSVC  # slow to import, so only when used

    stack = codes[:, None] if codes.ndim == 2 else codes  # [N, K, w], K = 1 or L
    normals, accuracies = [], []
    for k in range(stack.shape[1]):
        x = stack[:, k].detach().cpu().double().numpy()
        if solver == "svc":
            svm = SVC(kernel="linear", C=cost)
        else:
            svm = LinearSVC(C=cost, random_state=seed, max_iter=20_000)
        svm.fit(x[train], y)
        normals.append(torch.from_numpy(svm.coef_[0] / np.linalg.norm(svm.coef_[0])))
        accuracies.append(float(svm.score(x[test], y_test)) if held else None)
    facts = {"solver": solver, "cost": cost, "fraction": fraction, "n": len(scores), "seed": seed}
    return Direction(
        name,
        torch.stack(normals).float(),  # [K, w]
        layers,
        {**(provenance or {}), **facts, "accuracy": accuracies},
    )


@torch.no_grad()
def scored_codes(
    generator: Any,
    network: AttributeNetwork,
    *,
    n: int,
    seed: int = 0,
    batch_size: int = 256,
    mixing: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sample codes and score their images, for training directions (Sec. 4.3).

    Args:
        generator: frozen G.
        network: predicts the attributes of images.
        n: number of codes.
        seed: seed of z.
        batch_size: images made at once.
        mixing: join two codes at a layer drawn for each image, so that the layers of a single-w
            generator differ and directions can be trained layer by layer in its W+.

    Returns:
        Codes float [n, w_dim] (single-w mapping) or [n, L, w_dim] (multi-w, mixing), and scores
        [n, A] in the network's order: raw outputs, because probabilities saturate at the extremes
        that the SVM uses.
    """
    rng = torch.Generator().manual_seed(seed)
    like = generator.w_avg
    codes, scores = [], []
    for start in range(0, n, batch_size):
        count = min(batch_size, n - start)
        z = torch.randn(count, generator.z_dim, generator=rng).to(like)
        w = mapped(generator, z)  # [N, L, w_dim]
        if mixing:
            other = torch.randn(count, generator.z_dim, generator=rng).to(like)
            cut = torch.randint(1, generator.num_layers, (count, 1, 1), generator=rng)
            upper = torch.arange(generator.num_layers)[None, :, None] >= cut  # [N, L, 1]
            w = torch.where(upper.to(like.device), mapped(generator, other), w)
        images = generator.synthesis(w, noise="const").clamp(-1, 1)
        codes.append((w if generator.multi_w or mixing else w[:, 0]).cpu())
        scores.append(network(images).cpu())
    return torch.cat(codes), torch.cat(scores)
