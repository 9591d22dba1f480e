"""Batch normalisation against torch's own, and over two ranks against one."""

import multiprocessing

import pytest
import torch
from torch import distributed, nn

from idinvert.errors import ConfigError
from idinvert.networks.backbone import BatchNorm, batch_norm


def batches() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [3 + 2 * torch.randn(6, 5, 4, 4, generator=rng, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("synchronised", [False, True])
def test_agrees_with_torch_on_one_rank(synchronised):
    ours = BatchNorm(channels=5, scale=True, synchronised=synchronised).double()
    theirs = nn.BatchNorm2d(5).double()
    with torch.no_grad():
        for net in (ours, theirs):
            net.weight.copy_(torch.linspace(0.5, 2, 5))
            net.bias.copy_(torch.linspace(-1, 1, 5))
    for x in batches():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_beta_alone_has_no_gamma_to_learn_or_to_store():
    net = batch_norm(channels=5, norm="batch", scale=False)
    assert [name for name, _ in net.named_parameters()] == ["bias"]
    assert set(net.state_dict()) == {"bias", "running_mean", "running_var"}


def test_choices():
    assert isinstance(batch_norm(channels=5, norm="none", scale=True), nn.Identity)
    with pytest.raises(ConfigError, match=r"'group'.*encoder\.norm"):
        batch_norm(channels=5, norm="group", scale=True)


def one_rank(rank: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    net = BatchNorm(channels=5, scale=True, synchronised=True).double()
    # Unequal shares: the ranks weigh by their number of images.
    share = slice(0, 2) if rank == 0 else slice(2, 6)
    for x in batches():
        net.zero_grad()
        mine = x[share].clone().requires_grad_()
        y = net(mine)
        (y * torch.arange(y.shape[-1])).pow(2).sum().backward()
    # Summed over ranks, as one process would see them.
    distributed.all_reduce(net.weight.grad)
    distributed.all_reduce(net.bias.grad)
    torch.save(
        {"y": y.detach(), "dx": mine.grad, "dw": net.weight.grad, "db": net.bias.grad}
        | net.state_dict(),
        f"{folder}/{rank}.pt",
    )
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    context = multiprocessing.get_context("fork")  # spares two imports of torch
    ranks = [context.Process(target=one_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=120)
    assert [process.exitcode for process in ranks] == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    net = nn.BatchNorm2d(5).double()
    for x in batches():
        net.zero_grad()
        x.requires_grad_()
        y = net(x)
        (y * torch.arange(y.shape[-1])).pow(2).sum().backward()
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([p["y"] for p in parts]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([p["dx"] for p in parts]), x.grad, **close)
    for part in parts:
        torch.testing.assert_close(part["dw"], net.weight.grad, **close)
        torch.testing.assert_close(part["db"], net.bias.grad, **close)
        torch.testing.assert_close(part["running_mean"], net.running_mean, **close)
        torch.testing.assert_close(part["running_var"], net.running_var, **close)
