"""Images of two cameras side by side, made up: an object before a noisy wall, near or far.

That shows in how far the object stands apart in the two images, and in nothing else: where it
stands, how large and how bright it is, is chance.
"""

import torch
from torch import Tensor

FAR, NEAR = (0.0, 0.06), (0.12, 0.2)  # how far an object stands apart, in widths of an image


def generate(count: int, side: int = 32, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """Pairs of images and whether their object is near.

    Args:
        count: N, the number of pairs.
        side: height and width of the images, in pixels.
        seed: of the random numbers.

    Returns:
        "left" and "right", (N, 3, side, side) from about -0.5 to 1.5, and (N, 1), 1 for near and
        0 for far.

    Example:
        >>> from torchbp.data import stereo
        >>> images, near = stereo.generate(4, side=16)
        >>> images["left"].shape, near.shape
        (torch.Size([4, 3, 16, 16]), torch.Size([4, 1]))
    """
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    near = torch.randint(2, (count, 1), generator=generator)
    apart = torch.where(near[:, :, None, None] == 1, between(*NEAR), between(*FAR))
    x, y, size, light = between(0.3, 0.7), between(0.3, 0.7), between(0.08, 0.14), between(0.5, 1)
    steps = torch.linspace(0, 1, side)
    rows, columns = steps[:, None], steps[None, :]
    images = {}
    for eye, shift in (("left", apart / 2), ("right", -apart / 2)):
        distance = (columns - x - shift) ** 2 + (rows - y) ** 2  # (N, 1, side, side)
        noise = 0.1 * torch.randn(count, 3, side, side, generator=generator)
        images[eye] = light * torch.exp(-distance / size**2) + noise
    return images, near.float()
