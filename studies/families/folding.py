"""Networks that see one series, or covariates of the past, under the contract of `Family.build`."""

from typing import Any

from torch import Tensor, nn


class FoldedSeries(nn.Module):
    """Applies a network of one series to every series of a window.

    Series are folded into the batch behind the windows: the first rows are those of the first window, so that equal
    parts of dimension 0 are equal parts of the windows.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits [batch, horizon, series]."""
        labels, features = inputs["insample_y"], inputs["futr_exog"]
        n_windows, _, n_series = labels.shape
        folded: dict[str, Any] = {
            "insample_y": labels.transpose(1, 2).flatten(0, 1).unsqueeze(-1),
            "futr_exog": features.permute(0, 3, 2, 1).flatten(0, 1) if features.shape[1] else None,
            "hist_exog": None,
            "stat_exog": None,
        }
        logits: Tensor = self.network(folded)
        return logits.reshape(n_windows, n_series, -1).transpose(1, 2)


class PastFeatures(nn.Module):
    """Gives a network the covariates of the past instead of those of past and horizon.

    A feature is stored one horizon after its time (`studies.data.panel`), so the last `window` rows of the covariates
    are the indicators of the window's own times: the newest is that of the decision.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits [batch, horizon, series]."""
        labels, features = inputs["insample_y"], inputs["futr_exog"]
        past = features[:, :, -labels.shape[1] :]
        logits: Tensor = self.network({"insample_y": labels, "hist_exog": past, "stat_exog": None})
        return logits
