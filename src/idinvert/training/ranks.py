"""Who starts the ranks of a Trainer, and who queues its job again: never Lightning itself."""

from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)


def cluster_plugins() -> list[ClusterEnvironment]:
    """What a Trainer must be told about the cluster that this process runs on.

    Under Slurm, Lightning would save and queue the job again on its own when a signal comes, beside
    submitit or ``scontrol requeue``, and take up a checkpoint of its own making
    (decision 10). torchrun, and a machine without either, it recognises by itself.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]
