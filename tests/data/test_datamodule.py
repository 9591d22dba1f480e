"""Loaders: what is in a batch, where a stream starts, who gets which image."""

from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from idinvert.data.datamodule import ImageDataModule
from idinvert.data.domain import Domain
from idinvert.errors import ConfigError
from idinvert.toy.miniature import faces_mini


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    cache: Path = tmp_path_factory.mktemp("cache")
    return faces_mini(resolution=8, train=30, test=11, val=5, cache_dir=cache)


def on_rank(module: ImageDataModule, rank: int, world: int, nimg: int | None = None) -> None:
    lightning_module = SimpleNamespace() if nimg is None else SimpleNamespace(nimg=nimg)
    module.trainer = SimpleNamespace(
        global_rank=rank, world_size=world, lightning_module=lightning_module
    )


def train_ids(module: ImageDataModule, count: int) -> list[list[int]]:
    return [batch["id"].tolist() for batch in islice(module.train_dataloader(), count)]


def test_a_training_batch(domain):
    batch = next(iter(ImageDataModule(domain=domain, batch_size=4, seed=0).train_dataloader()))
    assert batch["image"].shape == (4, 3, 8, 8) and batch["image"].dtype == torch.uint8
    assert batch["id"].dtype == torch.int64 and batch["id"].shape == (4,)
    assert batch["attributes"].shape == (4, len(domain.attributes))
    assert "name" not in batch
    for image, i in zip(batch["image"], batch["id"], strict=True):
        assert torch.equal(image, domain.train[int(i)]["image"])


def test_the_stream_starts_at_the_images_seen(domain):
    module = ImageDataModule(domain=domain, batch_size=4, seed=0)
    whole = train_ids(module, 12)
    module.start_nimg = 8
    assert train_ids(module, 3) == whole[2:5]
    on_rank(module, 0, 1, nimg=16)  # the trained module knows better
    assert train_ids(module, 3) == whole[4:7]
    on_rank(module, 0, 1, nimg=torch.tensor(36))  # type: ignore[arg-type]
    assert train_ids(module, 3) == whole[9:12]
    on_rank(module, 0, 1)
    assert train_ids(module, 3) == whole[2:5]


def test_ranks_share_the_global_batch(domain):
    module = ImageDataModule(domain=domain, batch_size=6, seed=0)
    whole = train_ids(module, 7)
    parts = []
    for rank in range(3):
        on_rank(module, rank, 3)
        parts.append(train_ids(module, 7))
    together = [[i for part in parts for i in part[step]] for step in range(7)]
    assert together == whole
    on_rank(module, 0, 4)
    with pytest.raises(ConfigError, match=r"`batch_size` or `trainer\.devices`"):
        module.train_dataloader()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_test_image_once_and_none_twice(domain, world):
    module = ImageDataModule(domain=domain, batch_size=6, seed=0, eval_batch_size=4)
    seen = []
    for rank in range(world):
        on_rank(module, rank, world)
        batches = list(module.test_dataloader())
        ids = [i for batch in batches for i in batch["id"].tolist()]
        assert ids == list(range(30, 41))[rank::world]
        assert batches[0]["name"][0] == f"{ids[0]:06d}"
        seen += ids
    assert sorted(seen) == list(range(30, 41))
    on_rank(module, 0, 1)
    assert [i for b in module.val_dataloader() for i in b["id"].tolist()] == list(range(41, 46))


def test_workers_do_not_change_the_order(domain):
    alone = train_ids(ImageDataModule(domain=domain, batch_size=4, seed=0), 6)
    module = ImageDataModule(domain=domain, batch_size=4, seed=0, num_workers=2)
    assert train_ids(module, 6) == alone


def test_a_trainer_that_replaces_samplers_is_refused(domain):
    module = ImageDataModule(domain=domain, batch_size=4, seed=0)
    on_rank(module, 0, 2)
    module.trainer._accelerator_connector = SimpleNamespace(use_distributed_sampler=True)
    with pytest.raises(ConfigError, match="use_distributed_sampler=false"):
        module.test_dataloader()


def test_wrong_sizes_name_their_key(domain):
    with pytest.raises(ConfigError, match="batch_size"):
        ImageDataModule(domain=domain, batch_size=0, seed=0)


class Recorder(pl.LightningModule):
    """Counts images as training does and notes which it saw."""

    def __init__(self, nimg: int = 0) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.nimg = nimg
        self.seen: list[int] = []
        self.validated: list[int] = []

    def training_step(self, batch, _) -> None:
        self.nimg += len(batch["id"])
        self.seen += batch["id"].tolist()

    def validation_step(self, batch, _) -> None:
        self.validated += batch["id"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(domain: Domain, recorder: Recorder, steps: int) -> list[int]:
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=steps, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(recorder, datamodule=ImageDataModule(domain=domain, batch_size=4, seed=0))
    return recorder.seen


def test_a_real_trainer_resumes_the_stream(domain):
    whole = fit(domain, Recorder(), 10)
    resumed = Recorder(nimg=24)
    assert fit(domain, resumed, 4) == whole[24:40]
    assert resumed.validated == list(range(41, 46))
