"""Training of the attribute network that reads labels and serves as F in miniature."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from idinvert.annotations import PositiveFloat, Weight
from idinvert.data.convert import to_float
from idinvert.networks.attributes import AttributeNetwork
from idinvert.training.objective import Objective, adam
from idinvert.training.schedules import Schedule


class AttributeTraining(Objective):
    """Supervised training on exact labels: cross-entropy for binary ones, squared error otherwise.

    Labels that are NaN are ignored, because image domains have different labels. Images are never
    mirrored, because pose and light direction distinguish left from right.

    Args:
        network: The network; its ``kinds`` say which outputs are logits.
        lr: Adam's learning rate.
        schedule: Factor on the learning rate by images seen.
        noise: Standard deviation of the Gaussian noise added to training images (in the
            ``[-1, 1]`` range), so that features do not depend on the renderer's exact pixels.
        seed: Seed of that noise.
        accumulate: Micro-batches per step, to save memory.
    """

    def __init__(
        self,
        *,
        network: AttributeNetwork,
        lr: PositiveFloat,
        schedule: Schedule,
        noise: Weight,
        seed: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__(lr=lr, schedule=schedule, seed=seed, accumulate=accumulate)
        self.network = network.train().requires_grad_(True)
        self.noise = noise
        self.binary: Tensor
        self.values: Tensor
        binary = torch.tensor([kind == "binary" for kind in network.kinds])
        # Indices instead of a mask: masked indexing would make a GPU synchronise.
        self.register_buffer("binary", binary.nonzero().flatten(), persistent=False)
        self.register_buffer("values", (~binary).nonzero().flatten(), persistent=False)

    @property
    def trained_networks(self) -> dict[str, nn.Module]:
        """Networks that a finished run saves in its ``weights`` folder, by name."""
        return {"attributes": self.network}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns Adam with torch's default betas."""
        return [adam(self.network, lr=self.lr, betas=self.betas)]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Runs one step and returns the detached losses."""
        (optimizer,) = self.scheduled_optimizers()
        images = self.with_noise(self.training_images(batch), self.noise)
        labels = batch["attributes"]
        terms = self.descend(
            optimizer, self._loss, images, labels, parts=self.accumulate, graph="network"
        )
        self.clock.nimg += len(images) * self.trainer.world_size
        return terms

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, binary, values = self.network(images), self.binary, self.values
        on_binary = mean_of_known(
            binary_cross_entropy_with_logits, outputs[:, binary], labels[:, binary]
        )
        on_value = mean_of_known(mse_loss, outputs[:, values], labels[:, values])
        loss = on_binary + on_value
        return loss, {"loss/binary": on_binary, "loss/value": on_value, "loss/total": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Logs the accuracy of each binary label and the squared error of each other label."""
        predicted = self.network.predict(to_float(batch["image"]).to(self.dtype))
        labels = batch["attributes"]
        known = ~labels.isnan()
        right = ((predicted > 0.5) == (labels > 0.5)).float()
        error = (predicted - labels) ** 2
        values = {}
        for index, (name, kind) in enumerate(
            zip(self.network.names, self.network.kinds, strict=True)
        ):
            measure, value = ("accuracy", right) if kind == "binary" else ("mse", error)
            values[f"val/{measure}_{name}"] = value[known[:, index], index]
        self.log_means(values)


def mean_of_known(loss: Callable[..., Tensor], outputs: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean loss over labels ``[N, A]`` that are not NaN, without branching on data."""
    known = ~labels.isnan()
    each = loss(outputs, labels.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum()
