"""Training of the attribute network: its loss written out, its noise, and that it learns."""

import torch

from .tiny import attribute_training, fit, labelled_batches


def test_the_loss_is_cross_entropy_of_the_binary_and_squared_error_of_the_others():
    (batch,) = labelled_batches(size=8)
    (output,) = fit(attribute_training(), [batch], precision="64-true").outputs
    x = (batch["image"].float() / 127.5 - 1).double()
    labels = batch["attributes"].double()
    y = attribute_training().network.double()(x).detach()
    p = 1 / (1 + torch.exp(-y[:, 1]))
    on_binary = -(labels[:, 1] * p.log() + (1 - labels[:, 1]) * (1 - p).log()).mean()
    on_value = ((y[:, [0, 2]] - labels[:, [0, 2]]) ** 2).mean()
    torch.testing.assert_close(output["loss/binary"], on_binary, rtol=1e-9, atol=0)
    torch.testing.assert_close(output["loss/value"], on_value, rtol=1e-9, atol=0)
    torch.testing.assert_close(output["loss/total"], on_binary + on_value, rtol=1e-9, atol=0)


def test_labels_that_an_image_does_not_have_are_not_learned_from():
    (batch,) = labelled_batches(size=8)
    known = torch.ones(8, 3, dtype=torch.bool)
    known[:3, 0], known[3:, 1] = False, False  # columns 0 and 2 are values
    whole = batch["attributes"].double()
    batch["attributes"][~known] = torch.nan
    record = fit(attribute_training(), [batch], precision="64-true")
    x = (batch["image"].float() / 127.5 - 1).double()
    network = attribute_training().network.double()
    y = network(x)
    p = 1 / (1 + torch.exp(-y[:3, 1]))
    on_binary = -(whole[:3, 1] * p.log() + (1 - whole[:3, 1]) * (1 - p).log()).mean()
    squares = (y - whole).square()
    on_value = (squares[3:, 0].sum() + squares[:, 2].sum()) / 13
    torch.testing.assert_close(record.outputs[0]["loss/total"], (on_binary + on_value).detach())
    (on_binary + on_value).backward()
    (gradients,) = record.gradients
    torch.testing.assert_close(gradients["network.heads.weight"], network.heads.weight.grad)


def test_noise_changes_the_loss_and_follows_the_seed():
    def loss(**settings):
        record = fit(attribute_training(**settings), labelled_batches())
        return record.outputs[0]["loss/total"].item()

    assert loss(noise=0.5) != loss(noise=0.0)
    assert loss(noise=0.5) == loss(noise=0.5)
    assert loss(noise=0.5) != loss(noise=0.5, seed=5)


def test_eight_images_are_learned_by_heart():
    module = attribute_training()
    record = fit(module, labelled_batches(size=8) * 40)
    losses = [output["loss/total"].item() for output in record.outputs]
    assert losses[-1] < 0.05 * losses[0]
    assert module.nimg == 320
