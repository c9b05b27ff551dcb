"""Layers that compute what NeuralForecast's do in less time: equal outputs and gradients, equal names of weights.

- A convolution with a kernel of one row is a matrix product, and torch's convolution on a CPU is the slower way to it.
- iTransformer reads its answer off the tokens of the series alone. In the last layer the tokens of the features are
  needed as keys and values, and no further: their queries, feed-forward and norms reach nothing.
- There a few queries need no keys and values of many tokens: they meet the matrices of these first, then the tokens.

`benchmarks/training_step.py` prints what that is worth.
"""

import math
from typing import Any

import torch
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


class FewQueriesAttention(nn.Module):
    """Attention of a few queries over many tokens that makes no keys and values of them.

    A score is q·(K x) = (Kᵀ q)·x, and what a head answers is the sum of a V x = V (the sum of a x): each matrix meets
    the few queries of a head, and not every token.

    Args:
        layer: NeuralForecast's `AttentionLayer`, whose parts it takes over under their names.
    """

    def __init__(self, layer: Any) -> None:  # noqa: ANN401  NeuralForecast ships no types
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)
        self.n_heads = layer.n_heads

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,  # noqa: ARG002  the keys
        attn_mask: None = None,  # noqa: ARG002
    ) -> tuple[Tensor, None]:
        """Return [batch, queries, width] of queries [batch, queries, width] and tokens [batch, tokens, width]."""
        parts: Any = self
        width, by_head = queries.shape[-1], (self.n_heads, -1)
        # Letters: b window, q query, t token, h head, e channel of a head, d channel of the model.
        query = parts.query_projection(queries).unflatten(-1, by_head)
        (key, key_bias), (value, value_bias) = (
            (linear.weight.view(*by_head, width), linear.bias.view(by_head))
            for linear in (parts.key_projection, parts.value_projection)
        )
        query = query * (parts.inner_attention.scale or 1 / math.sqrt(query.shape[-1]))
        scores = torch.einsum("bhqd,btd->bhqt", torch.einsum("bqhe,hed->bhqd", query, key), keys)
        # The softmax does not see it, equal for all tokens as it is: so the bias has a gradient, as in NeuralForecast.
        scores = scores + torch.einsum("bqhe,he->bhq", query, key_bias).unsqueeze(-1)
        weights = parts.inner_attention.dropout(torch.softmax(scores, dim=-1))
        mixed = torch.einsum("bhqd,hed->bqhe", torch.einsum("bhqt,btd->bhqd", weights, keys), value)
        # What dropout leaves of the weights does not sum to one, so the bias of the values is weighted as well.
        mixed = mixed + torch.einsum("bhqt,he->bqhe", weights, value_bias)
        return parts.out_projection(mixed.flatten(2)), None


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
