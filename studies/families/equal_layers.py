"""Layers that compute what NeuralForecast's do in less time: equal outputs and gradients, equal names of weights.

- A convolution with a kernel of one row is a matrix product, and torch's convolution on a CPU is the slower way to it.
- iTransformer reads its answer off the tokens of the series alone. In the last layer the tokens of the features are
  needed as keys and values, and no further: their queries, feed-forward and norms reach nothing.

`benchmarks/training_step.py` prints what that is worth.
"""

from typing import Any

from torch import Tensor, nn


class MatrixConvolution(nn.Conv1d):
    """A convolution over one row, as the matrix product that it is.

    The layers around it transpose rows and channels before and after; the two transpositions here undo theirs.
    """

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__(convolution.in_channels, convolution.out_channels, 1, device="meta")
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """Return [batch, channels, rows] of [batch, channels, rows]."""
        return nn.functional.linear(input.transpose(1, 2), self.weight.squeeze(-1), self.bias).transpose(1, 2)


class FirstTokensLayer(nn.Module):
    """The last layer of an encoder of which only the first tokens are asked for.

    Args:
        layer: NeuralForecast's `TransEncoderLayer`, whose parts it takes over under their names.
        n_kept: tokens from the first on that the layer answers for.
    """

    def __init__(self, layer: Any, n_kept: int) -> None:  # noqa: ANN401  NeuralForecast ships no types
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)
        self.activation, self.n_kept = layer.activation, n_kept

    def forward(self, x: Tensor, attn_mask: None = None) -> tuple[Tensor, None]:
        """Return [batch, n_kept, width] of [batch, tokens, width]."""
        parts: Any = self
        kept = x[:, : self.n_kept]
        mixed, _ = parts.attention(kept, x, x, attn_mask=attn_mask)
        kept = parts.norm1(kept + parts.dropout(mixed))
        inner = parts.dropout(self.activation(parts.conv1(kept.transpose(1, 2))))
        return parts.norm2(kept + parts.dropout(parts.conv2(inner).transpose(1, 2))), None


def with_matrix_convolutions(network: nn.Module) -> nn.Module:
    """Replace every convolution over one row by a matrix product; return the network."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv1d) and _is_a_matrix(child):
                setattr(module, name, MatrixConvolution(child))
    return network


def _is_a_matrix(convolution: nn.Conv1d) -> bool:
    plain = convolution.groups == 1 and convolution.padding == (0,)
    return plain and convolution.kernel_size == convolution.stride == (1,)
