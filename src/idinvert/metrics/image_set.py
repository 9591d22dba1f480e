"""A set of images as torch-fidelity takes it."""

from torch import Tensor
from torch.utils.data import Dataset

from idinvert.errors import DataError
from idinvert.metrics.inputs import check_equal_counts, check_uint8


class ImageSet(Dataset):
    """uint8 images in memory, handed out one by one.

    Args:
        images: uint8 `[N, 3, R, R]`.
        name: what to call the set in an error.

    Raises:
        DataError: not uint8 RGB, or fewer than two images.
    """

    def __init__(self, images: Tensor, *, name: str) -> None:
        check_uint8(images, name=name)
        if len(images) < 2:
            raise DataError(
                f"distances between sets need at least two images; {name} holds {len(images)}"
            )
        self.images = images.cpu()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def image_sets(outputs: Tensor, reals: Tensor, *, metric: str) -> tuple[ImageSet, ImageSet]:
    """Both sets of a distance; they must be of equal size (DESIGN: both sets n images)."""
    check_equal_counts(len(outputs), len(reals), metric=metric)
    return ImageSet(outputs, name="outputs"), ImageSet(reals, name="reals")
