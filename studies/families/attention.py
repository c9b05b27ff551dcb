"""NeuralForecast's attentions, made to depend on one window alone and to draw from `nn.Dropout` modules only.

What is replaced, and why (NeuralForecast 3.3):

- `FullAttention` passes the rate of its dropout to torch's fused attention, past the module that holds the rate.
- Informer's `ProbAttention` samples other keys at every pass, also in evaluation, and with one head it mixes windows.
- Autoformer's `AutoCorrelation` picks, while training, the delays that suit the mean of the batch, and lets rounding
  choose among equal ones.
- The Fourier transforms of Autoformer and FEDformer take no 16-bit numbers.

None of them has parameters of its own, so names and numbers of weights stay as they are.
"""

import functools
import math
from typing import Any, Final

import torch
from neuralforecast.common._modules import FullAttention
from neuralforecast.models.autoformer import AutoCorrelation
from neuralforecast.models.informer import ProbAttention
from torch import Tensor, nn

# By which share of the largest a delay's correlation is handicapped a row.
_TIE: Final = 1e-5


class ModuleDropoutAttention(FullAttention):  # type: ignore[misc]
    """Full attention whose weights are dropped by the `nn.Dropout` that it holds."""

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, attn_mask: None, tau: None = None, delta: None = None
    ) -> tuple[Tensor, None]:
        """Return [batch, queries, heads, width a head]; the batch is the first dimension wherever it drops."""
        if not self.training or self.dropout.p == 0:
            mixed, _ = super().forward(queries, keys, values, attn_mask, tau, delta)
            return mixed, None
        query, key, value = (each.transpose(1, 2) for each in (queries, keys, values))
        scale = self.scale or 1 / math.sqrt(query.shape[-1])
        weights = self.dropout(torch.softmax(scale * query @ key.transpose(-2, -1), dim=-1))
        return (weights @ value).transpose(1, 2).contiguous(), None


class SeededAttention(ProbAttention):  # type: ignore[misc]
    """ProbSparse attention (Zhou et al. 2020, arXiv 2012.07436, section 3.1) that samples the same keys at every pass.

    Another number of passes, by smaller micro-batches, a look at the validation part or a checkpoint, then changes
    nothing.
    """

    def __init__(self, attention: ProbAttention, seed: int) -> None:
        super().__init__(attention.mask_flag, attention.factor, attention.scale, attention.dropout.p)
        self._seed = seed

    def _prob_QK(self, Q: Tensor, K: Tensor, sample_k: int, n_top: int) -> tuple[Tensor, Tensor]:  # noqa: N802, N803
        """Return the scores [batch, heads, n_top, keys] of the least uniform queries, and which these are.

        Args:
            Q: queries [batch, heads, queries, width a head].
            K: keys [batch, heads, keys, width a head].
            sample_k: sampled keys a query.
            n_top: queries that attend; the others get the mean of the values.
        """
        n_queries, n_keys = Q.shape[2], K.shape[2]
        generator = torch.Generator().manual_seed(self._seed)
        sample = torch.randint(n_keys, (n_queries, sample_k), generator=generator).to(K.device)
        scores = (Q.unsqueeze(-2) * K[:, :, sample]).sum(-1)
        sparsity = scores.amax(-1) - scores.sum(-1) / n_keys
        top = sparsity.topk(n_top, sorted=False).indices
        chosen = Q.gather(2, top.unsqueeze(-1).expand(*top.shape, Q.shape[-1]))
        return chosen @ K.transpose(-2, -1), top


class WindowAutoCorrelation(AutoCorrelation):  # type: ignore[misc]
    """Auto-correlation (Wu et al. 2021, arXiv 2106.13008) that picks the delays of each window by itself.

    NeuralForecast does so in evaluation. While training it picks those of the batch's mean, for speed, so that a
    window's loss depends on the other windows of its micro-batch.

    Of delays that suit a window equally well the shorter ones are taken. Past labels alone make such ties: where a
    window holds a single 1, a delay and its opposite give the same sum. Rounding decided between them, which is
    another one in another micro-batch; a logit of a network of 16 channels then moved by 0.36.
    """

    def __init__(self, attention: AutoCorrelation) -> None:
        super().__init__(attention.mask_flag, attention.factor, attention.scale, attention.dropout.p)

    def time_delay_agg_inference(self, values: Tensor, corr: Tensor) -> Tensor:
        """Return the values rolled by the best delays, weighted by how well these suit.

        Args:
            values: [batch, heads, width a head, rows].
            corr: correlations [batch, heads, width a head, delays].
        """
        n_rows, suits = values.shape[-1], corr.mean((1, 2))
        # More than rounding makes of equal sums, about 1e-6 of them, and too little to matter elsewhere.
        handicap = _TIE * suits.detach().abs().amax(-1, keepdim=True)
        ranked = suits.detach() - handicap * torch.arange(suits.shape[-1], device=suits.device)
        delays = ranked.topk(int(self.factor * math.log(n_rows))).indices
        weights = torch.softmax(suits.gather(-1, delays), dim=-1)
        rows = (torch.arange(n_rows, device=delays.device) + delays.unsqueeze(-1)) % n_rows
        rolled = (
            weight[:, None, None, None] * values.gather(-1, row[:, None, None].expand_as(values))
            for weight, row in zip(weights.unbind(-1), rows.unbind(1), strict=True)
        )
        return functools.reduce(torch.add, rolled)

    def time_delay_agg_training(self, values: Tensor, corr: Tensor) -> Tensor:
        """Do as in evaluation."""
        return self.time_delay_agg_inference(values, corr)


def drop_by_module(network: nn.Module) -> nn.Module:
    """Make every full attention of a network drop its weights by its `nn.Dropout`; return the network."""
    for layer, attention in _inner(network, "inner_attention"):
        if isinstance(attention, FullAttention):
            layer.inner_attention = ModuleDropoutAttention(
                attention.mask_flag, scale=attention.scale, attention_dropout=attention.dropout.p
            )
    return network


def sample_by_seed(network: nn.Module, seed: int) -> nn.Module:
    """Make every ProbSparse attention of a network sample by the seed, each other keys; return the network."""
    for place, (layer, attention) in enumerate(_inner(network, "inner_attention")):
        layer.inner_attention = SeededAttention(attention, seed + place)
    return network


def correlate_by_window(network: nn.Module) -> nn.Module:
    """Make every auto-correlation of a network pick its delays window by window; return the network."""
    for layer, attention in _inner(network, "inner_correlation"):
        layer.inner_correlation = in_full_precision(WindowAutoCorrelation(attention))
    return network


def transform_in_full_precision(network: nn.Module) -> nn.Module:
    """Make every Fourier block of a network compute in 32 bits; layers may share one. Return the network."""
    for attention in {id(attention): attention for _, attention in _inner(network, "inner_correlation")}.values():
        in_full_precision(attention)
    return network


def in_full_precision(attention: Any) -> Any:  # noqa: ANN401  NeuralForecast ships no types
    """Make an attention compute in 32 bits, whatever precision is around it; return it."""
    forward = attention.forward

    @functools.wraps(forward)
    def full(queries: Tensor, keys: Tensor, values: Tensor, attn_mask: None) -> tuple[Tensor, None]:
        with torch.autocast(queries.device.type, enabled=False):
            mixed, _ = forward(queries.float(), keys.float(), values.float(), attn_mask)
        return mixed.to(queries.dtype), None

    attention.forward = full
    return attention


def _inner(network: nn.Module, name: str) -> list[tuple[Any, Any]]:
    """Return every layer that has an inner attention of that name, with it."""
    return [(layer, getattr(layer, name)) for layer in network.modules() if hasattr(layer, name)]
