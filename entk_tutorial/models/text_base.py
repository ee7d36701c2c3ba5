"""What the text models share: an embedding table, padding, a linear readout, weights drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

PADDING = -1

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda u: u,
    "relu": torch.relu,
    "erf": torch.erf,
    "gelu": nn.functional.gelu,  # exact, u * P(z < u)
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "quad": torch.square,
}


def activation_function(activation: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function behind a name, or the function given."""
    if callable(activation):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}, or a function of a tensor"
        )
    return ACTIVATIONS[activation]


def normal(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> nn.Parameter:
    """A parameter of independent N(0, 1) weights: the NTK parametrisation keeps every scale in the forward pass."""
    return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype))


class TextModel(nn.Module):
    """Embedding and readout in NTK parametrisation.

    Documents come as (N, T) integers with -1 after the end of each; outputs are (N, 1).

    Args:
        vocab: number of tokens V.
        width: n, the dimension of embeddings and hidden layers.
        features: (V, r) token vectors x_a; by default one-hot. The infinite kernels then take
            ``gram = features @ features.T``.
        sigma_e: scale of the embedding.
        sigma_v: scale of the readout.
        generator: source of the weights, created from a seed by the subclass.
        dtype: of the parameters.
    """

    E: nn.Parameter
    v: nn.Parameter
    features: Tensor | None

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None,
        sigma_e: float,
        sigma_v: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        if vocab < 1 or width < 1:
            raise ValueError(f"vocab = {vocab}, width = {width}; expected 1 or more of each")
        if features is not None and (features.ndim != 2 or features.shape[0] != vocab):
            raise ValueError(f"features have shape {tuple(features.shape)}; expected ({vocab}, r): one row a token")
        self.vocab, self.width, self.sigma_e, self.sigma_v = vocab, width, sigma_e, sigma_v
        self.register_buffer("features", None if features is None else features.detach().clone().to(dtype))
        self.E = normal(generator, dtype, vocab if features is None else features.shape[1], width)  # (V or r, n)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token vectors e = sigma_e E x, zero at padding: (N, T) -> (N, T, n)."""
        index = tokens.clamp(min=0)  # (N, T); padding looks up token 0 and is masked
        e = self.E[index] if self.features is None else self.features[index] @ self.E  # (N, T, n)
        return self.sigma_e * e * (tokens != PADDING)[..., None]

    def read(self, h: Tensor) -> Tensor:
        """Readout sigma_v / sqrt(n) v.h: (N, n) -> (N, 1)."""
        return self.sigma_v / self.width**0.5 * (h @ self.v)[:, None]

    def linear(self, weight: Tensor, x: Tensor, sigma: float) -> Tensor:
        """Hidden layer sigma / sqrt(n) W x: (..., n) -> (..., n)."""
        return sigma / self.width**0.5 * (x @ weight.T)


def pooling_factor(pooling: str, number: Tensor) -> Tensor | float:
    """Factor on a pooled sum: 1, or 1 / number of summands as (N, 1)."""
    return 1.0 if pooling == "sum" else 1.0 / number[:, None]


def check_choice(name: str, value: str, known: tuple[str, ...]) -> str:
    """Refuse a choice that the model does not have."""
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; expected one of {', '.join(known)}")
    return value
