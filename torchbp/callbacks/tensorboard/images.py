"""Pictures of convolution filters and of what layers make of a sample: blue below 0, red above."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchbp.callbacks.inspection import whole

MOST_TILES = 64  # filters, or channels of a feature map
MOST_PIXELS = 512  # a picture's side before it is enlarged
WIDTH = 640  # to which small pictures are enlarged, in pixels
BELOW, ZERO, ABOVE = (0.13, 0.40, 0.67), (0.97, 0.97, 0.97), (0.70, 0.09, 0.17)
GAP = 0.80  # grey

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def filters(model: nn.Module) -> dict[str, Tensor]:
    """A picture (3, H, W) of the filters of each convolution in one or two dimensions.

    In one dimension each tile is a filter: its channels from top to bottom, its taps from left to
    right. In two dimensions, with one or three channels, each tile is a filter, with three in its
    own colours; with more, a row of tiles is a filter, and each tile one of its channels.
    """
    found = {
        name: whole(module.weight).float().cpu()
        for name, module in model.named_modules()
        if isinstance(module, _CONVOLUTIONS)
    }
    return {name: _filters(weight[:MOST_TILES]) for name, weight in found.items()}


def feature_map(activation: Tensor) -> Tensor | None:
    """A picture (3, H, W) of a layer's output for one sample, None if it is none to look at.

    Of (1, C, H, W), a tile for each of the first channels; of (1, C, T), a row for each channel.
    """
    if not activation.is_floating_point() or activation.numel() == 0:
        return None
    values = activation[0].float().cpu()
    if values.ndim == 3:
        tiles = _at_most(values[:MOST_TILES].unsqueeze(1), MOST_PIXELS // 8).squeeze(1)
        return _enlarged(_grid(_coloured(tiles), _near_square(len(tiles))))
    if values.ndim == 2:
        return _enlarged(
            _coloured(_at_most(values[None, None], MOST_PIXELS)[0, 0]), height=WIDTH // 2
        )
    return None


def _filters(weight: Tensor) -> Tensor:
    """A picture of weights (C', C, K) or (C', C, kH, kW)."""
    if weight.ndim == 3:
        return _enlarged(_grid(_coloured(weight), 2 * _near_square(len(weight))))
    if weight.shape[1] == 3:
        return _enlarged(_grid(_rgb(weight), _near_square(len(weight))))
    columns = min(weight.shape[1], MOST_TILES // 4)
    rows = weight if columns == 1 else weight[: MOST_TILES // 4, :columns]
    side = _near_square(len(rows)) if columns == 1 else columns
    return _enlarged(_grid(_coloured(rows.flatten(0, 1)), side))


def _coloured(values: Tensor) -> Tensor:
    """Values (..., H, W) as colours (..., H, W, 3), on one scale for all of them."""
    values = values.nan_to_num(0.0, 0.0, 0.0)
    share = (values / values.abs().max().clamp_min(1e-30)).unsqueeze(-1)
    below, zero, above = (torch.tensor(colour) for colour in (BELOW, ZERO, ABOVE))
    return zero + share.clamp_min(0) * (above - zero) - share.clamp_max(0) * (below - zero)


def _rgb(weight: Tensor) -> Tensor:
    """Weights (C', 3, H, W) as colours (C', H, W, 3); grey is zero."""
    weight = weight.nan_to_num(0.0, 0.0, 0.0)
    return (0.5 + 0.5 * weight / weight.abs().max().clamp_min(1e-30)).movedim(1, -1)


def _grid(tiles: Tensor, columns: int) -> Tensor:
    """Tiles (N, H, W, 3) side by side in rows, a line between them: (H', W', 3)."""
    num_rows = math.ceil(len(tiles) / columns)
    missing = num_rows * columns - len(tiles)
    tiles = F.pad(tiles, (0, 0, 1, 0, 1, 0, 0, missing), value=GAP)
    height, width = tiles.shape[1:3]
    rows = tiles.reshape(num_rows, columns, height, width, 3).transpose(1, 2)
    return rows.reshape(num_rows * height, columns * width, 3)[1:, 1:]


def _at_most(images: Tensor, side: int) -> Tensor:
    """Images (N, 1, H, W), made smaller where a side is longer."""
    size = [min(length, side) for length in images.shape[2:]]
    return images if size == list(images.shape[2:]) else F.interpolate(images, size, mode="area")


def _enlarged(image: Tensor, height: int | None = None) -> Tensor:
    """An image (H, W, 3) as (3, H', W') with pixels that can be seen.

    Args:
        image: what is enlarged by whole factors, to the width that pictures have.
        height: to which it is stretched in the other direction; None keeps pixels square.
    """
    across = max(1, WIDTH // image.shape[1])
    down = min(across, max(1, WIDTH // image.shape[0]))
    across, down = (down, down) if height is None else (across, max(1, height // image.shape[0]))
    return image.movedim(-1, 0).repeat_interleave(down, 1).repeat_interleave(across, 2)


def _near_square(count: int) -> int:
    return math.ceil(math.sqrt(count))
