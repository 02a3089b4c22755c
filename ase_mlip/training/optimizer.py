"""The optimizers of a training run: AdamW for everything, or Muon for the matrices and AdamW for the rest."""

import torch

from ..configuration.run import OptimizerConfig
from ..errors import DataError

# A matrix with fewer rows or columns is a read-out or an input of a few numbers: there is nothing to
# orthogonalise, and AdamW's step per component is the better one.
_SMALLEST_MATRIX = 8


def make_optimizers(network: torch.nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """One optimizer, or two that share the parameters of ``network`` between them.

    Muon orthogonalises the momentum of every weight matrix (K. Jordan et al. 2024); its step is scaled to
    the root mean square of AdamW's (arXiv 2502.16982), so that one learning rate serves both.

    Raises
    ------
    DataError
        when ``config.kind`` is ``"muon"`` and this torch has none
    """
    everything = list(network.parameters())
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.kind == "adamw":
        return [torch.optim.AdamW(everything, **settings)]
    if not hasattr(torch.optim, "Muon"):
        raise DataError(
            f"`optimizer.kind = 'muon'` needs torch 2.9 or newer, got {torch.__version__}; "
            "upgrade torch or use 'adamw'"
        )
    matrices, rest = split_parameters(network)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **settings))
    if rest:
        optimizers.append(torch.optim.AdamW(rest, **settings))
    return optimizers


def split_parameters(
    network: torch.nn.Module,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The weight matrices that Muon takes, and all else: embeddings, norms, biases, read-outs."""
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Embedding)}
    matrices, rest = [], []
    for parameter in network.parameters():
        is_matrix = parameter.ndim == 2 and min(parameter.shape) > _SMALLEST_MATRIX
        (matrices if is_matrix and id(parameter) not in embeddings else rest).append(parameter)
    return matrices, rest
