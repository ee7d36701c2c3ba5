r"""Which layer knows what: families of functions by layer in the MLP and the Transformer that add modulo p.

For the kernel of every weight matrix: the share of its trace in each family, beside two permutation nulls, PCA of the
layer's own input, and the untrained network. Then the identities that say where such a kernel can differ from PCA at
all; and what becomes of the answers when a family is taken out at each place. Networks are those of
``modular_transformer`` (stored weights, or trained again where there are none) and ``modular_mlp``. Source: [Lin 2025].
Chapter: book/microscope/layers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.empirical import empirical_ntk, top_eigenpairs
from entk_tutorial.experiments import modular_mlp, modular_transformer
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features.ablation import (
    line_families,
    line_residues,
    moved_functions,
    random_functions,
)
from entk_tutorial.features.key_frequencies import key_frequencies, window_shares
from entk_tutorial.features.localisation import family_shares, share_null
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.transformer import TENSORS, ModularTransformer, modular_tokens
from entk_tutorial.results import load_result, load_stored_checkpoint

Numbers = dict[str, float]
MLP_LAYERS = ("mlp_fc1", "mlp_fc2")
LAYERS = (*MLP_LAYERS, *TENSORS)
NAMED = ("m", "n", "sum", "diff")
FEW = 12
"""Inputs on which every entry of a class block is written out."""


@dataclass(frozen=True)
class Config:
    """Settings, at the paper's scale by default; what is not here is as in the experiments that train the networks.

    Attributes:
        p: modulus, a prime from 7 on.
        d_model: of the Transformer.
        heads: of the Transformer.
        d_mlp: of the Transformer.
        epochs: of the Transformer; 0 takes it untrained.
        hidden: neurons of the MLP.
        mlp_epochs: of the MLP.
        draws: permutations in each null.
        device: for training, ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    p: int = 29
    d_model: int = 64
    heads: int = 4
    d_mlp: int = 256
    epochs: int = 4000
    hidden: int = 512
    mlp_epochs: int = 500
    draws: int = 100
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        line_residues(self.p)
        if self.draws < 1:
            raise ValueError(f"draws={self.draws}; at least one permutation is expected.")
        self.transformer, self.mlp  # noqa: B018  # they check the rest, with their reasons

    @property
    def transformer(self) -> modular_transformer.Config:
        """The Transformer's own settings."""
        every = max(1, self.epochs)
        shared = ("p", "d_model", "heads", "d_mlp", "epochs", "device")
        return modular_transformer.Config(
            **{k: getattr(self, k) for k in shared}, record_every=every, kernel_every=every, controls=False
        )

    @property
    def mlp(self) -> modular_mlp.Config:
        """The MLP's own settings."""
        return modular_mlp.Config(
            p=self.p, hidden=self.hidden, epochs=self.mlp_epochs, kernel_every=max(1, self.mlp_epochs),
            device=self.device,
        )  # fmt: skip


def trained_transformer(config: Config, seed: int) -> tuple[ModularTransformer, ModularTask]:
    """The Transformer of a seed, on the CPU: the stored weights if they were made with these settings, else trained."""
    ours = config.transformer
    task = modular_task(config.p, ours.train_fraction, modular_transformer.SPLIT_OFFSET + seed)
    settings = ("p", "d_model", "heads", "d_mlp", "train_fraction", "epochs", "batch", "lr", "weight_decay")
    try:
        same = all(load_result("modular_transformer").config[k] == getattr(ours, k) for k in settings)
        state = load_stored_checkpoint("modular_transformer", seed) if same else None
    except ValueError:  # no such result, no such seed, or a damaged file
        state = None
    if state is None:
        return modular_transformer.fit(ours, task, seed)[0].cpu(), task
    model = ModularTransformer(config.p, config.d_model, config.heads, config.d_mlp, seed)
    model.load_state_dict(state)
    return model, task


class SeenLogits(nn.Module):
    """The logits as cross-entropy sees them: those of the p digits, less their mean."""

    def __init__(self, net: ModularTransformer) -> None:
        """Wrap a network, sharing its weights."""
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, 3) -> (N, p)."""
        logits: Tensor = self.net(tokens)[:, : self.net.p]
        return logits - logits.mean(1, keepdim=True)


def seen_kernels(model: ModularTransformer) -> dict[str, Tensor]:
    """Trace kernel of each tensor over the logits as cross-entropy sees them: float64, (p*p, p*p)."""
    wrapped = SeenLogits(copy.deepcopy(model).double())
    out = {}
    for name in TENSORS:  # one at a time keeps the gradients small
        for other, weight in wrapped.net.named_parameters():
            weight.requires_grad_(other == name)
        parts = empirical_ntk(
            wrapped, modular_tokens(model.p), reduce="trace", by="parameter", max_bytes=modular_transformer.MEMORY
        )
        assert isinstance(parts, dict)
        out[name] = parts[f"net.{name}"]
    return out


def mean_logit_kernels(config: Config, transformer: ModularTransformer, mlp: QuadraticMLP) -> dict[str, Tensor]:
    """Kernels of all layers, as published: trace for the MLP, mean over pairs of logits for the Transformer."""
    inputs = modular_task(config.p, 0.5, 0).inputs.double()
    layers = empirical_ntk(copy.deepcopy(mlp).double().cpu(), inputs, reduce="trace", by="layer")
    assert isinstance(layers, dict)
    tensors = modular_transformer.tensor_kernels(copy.deepcopy(transformer).double())
    return {f"mlp_{name}": k for name, k in layers.items()} | tensors


def layer_inputs(transformer: ModularTransformer, mlp: QuadraticMLP) -> dict[str, Tensor]:
    """What a layer reads, (p*p, width) float64, where it reads one vector for each pair of digits."""
    net, tokens = copy.deepcopy(transformer).double(), modular_tokens(transformer.p)
    with torch.no_grad():
        values = linear(net.embed(tokens), net.W_V).unflatten(2, (net.heads, -1))  # (N, 3, heads, d_head)
        mixed = (net.attention(tokens).transpose(1, 2).unsqueeze(3) * values).sum(1).flatten(1)
        inputs = modular_task(mlp.p, 0.5, 0).inputs.double()
        return {
            "mlp_fc1": inputs,
            "mlp_fc2": copy.deepcopy(mlp).double().cpu().activations(inputs),
            "W_O": mixed,
            "W_in": net.after_attention(tokens),
            "W_out": net.neurons(tokens),
            "W_U": net.residual(tokens),
        }


def shares_by_layer(kernels: dict[str, Tensor], p: int, prefix: str = "") -> Numbers:
    """By layer: shares of ``axes`` (n and m together), ``sum``, ``diff``, and the mean of the ``placebo`` lines."""
    out: Numbers = {}
    for layer, kernel in kernels.items():
        shares = family_shares(kernel, p)
        out |= {f"{prefix}{layer}_{family}": shares[family] for family in ("sum", "diff")}
        out[f"{prefix}{layer}_axes"] = shares["n"] + shares["m"]
        out[f"{prefix}{layer}_placebo"] = sum(v for k, v in shares.items() if k not in NAMED) / (p - 3)
    return out


def nulls(kernels: dict[str, Tensor], config: Config, seed: int) -> dict[str, Numbers]:
    """Mean and largest share of the sum after the digits were renamed, or all rows permuted."""
    out: dict[str, Numbers] = {k: {} for k in ("renamed_mean", "renamed_max", "permuted_max")}
    for layer, kernel in kernels.items():
        for group, name in (("digits", "renamed"), ("rows", "permuted")):
            drawn = share_null(kernel, config.p, "sum", group=group, draws=config.draws, seed=seed)
            out[f"{name}_max"][f"{layer}_sum"] = float(drawn.max())
            if name == "renamed":
                out["renamed_mean"][f"{layer}_sum"] = float(drawn.mean())
    return out


def _over_null(shares: Numbers, null: dict[str, Numbers], prefix: str = "") -> Numbers:
    return {f"{prefix}{k}_over_null": shares[k] / v for k, v in null["renamed_mean"].items()}


def identities(transformer: ModularTransformer, mlp: QuadraticMLP, keys: list[int]) -> Numbers:
    r"""Relative errors of what is proved in the chapter, in float64.

    ``identity_W_U``, ``identity_W_out``, ``identity_mlp``: the largest error, over the reductions full, trace and mean
    logit, of :math:`K = (B B^\top) \otimes (a \cdot a')`. ``identity_pca``: distance of the spans of the leading
    eigenvectors from those of uncentred PCA. ``identity_mean``: mean over class pairs against the kernel of the mean
    logit. ``loss_along_mean``: the largest entry of the gradient of cross-entropy along that direction.
    """
    p, net, two = transformer.p, copy.deepcopy(transformer).double(), copy.deepcopy(mlp).double().cpu()
    tokens, read = modular_tokens(p), layer_inputs(transformer, mlp)
    with torch.no_grad():
        readouts = {"W_U": torch.eye(p + 1).double(), "W_out": net.W_U @ net.W_U.T}
        readouts["mlp_fc2"] = torch.eye(p).double() / two.hidden**2
    few = torch.linspace(0, p * p - 1, FEW).long()
    inputs = modular_task(p, 0.5, 0).inputs.double()
    errors: Numbers = {}
    for reduce in ("full", "trace", "mean_logit"):
        rows = few if reduce == "full" else torch.arange(p * p)
        for name, weight in net.named_parameters():  # all tensors on a few inputs, the two of the theorem on all
            weight.requires_grad_(reduce == "full" or name in ("W_out", "W_U"))
        found = empirical_ntk(net, tokens[rows], reduce=reduce, by="parameter")
        layers = empirical_ntk(two, inputs[rows], reduce=reduce, by="layer")
        assert isinstance(found, dict) and isinstance(layers, dict)
        for layer, kernel in (("W_U", found["W_U"]), ("W_out", found["W_out"]), ("mlp_fc2", layers["fc2"])):
            gram, classes = read[layer][rows] @ read[layer][rows].T, readouts[layer]
            scale = {"trace": classes.trace(), "mean_logit": classes.mean()}
            formula = torch.einsum("nm,cd->nmcd", gram, classes) if reduce == "full" else gram * scale[reduce]
            key = f"identity_{layer.removesuffix('_fc2')}"
            errors[key] = max(errors.get(key, 0.0), _distance(kernel, formula))
        if reduce == "full":
            mean = empirical_ntk(net, tokens[rows], reduce="mean_logit")
            total = sum(found.values(), torch.zeros(1, dtype=torch.float64))
            assert isinstance(mean, Tensor)
            errors["identity_mean"] = _distance(total.mean((2, 3)), mean)
        if reduce == "trace":
            d = 1 + 4 * max(1, len(keys))
            spans = [
                (top_eigenpairs(found[k], d).vectors, torch.linalg.svd(read[k], full_matrices=False)[0][:, :d])
                for k in ("W_U", "W_out")
            ]
            errors["identity_pca"] = max(float((u @ u.T - v @ v.T).norm()) for u, v in spans)
    logits = net(tokens).detach().requires_grad_()
    labels = line_residues(p)["sum"]
    gradient = torch.autograd.grad(cross_entropy(logits[:, :p], labels, reduction="sum"), logits)[0]
    return errors | {"loss_along_mean": float(gradient.sum(1).abs().max() / gradient.abs().max())}


def _distance(found: Tensor, formula: Tensor) -> float:
    return float((found - formula).norm() / formula.norm())


def transformer_ablation(model: ModularTransformer, task: ModularTask, draws: int, seed: int) -> dict[str, Numbers]:
    """Accuracy on all pairs after a family is taken out at one place, and answers that move with it.

    Places: ``after_attention`` (what neurons and unembedding read), ``neurons`` (what they put out), ``logits``.
    """
    p, net, tokens = model.p, copy.deepcopy(model).double(), modular_tokens(model.p)
    families, residues = line_families(p), line_residues(p)
    with torch.no_grad():
        stream, active = net.after_attention(tokens), net.neurons(tokens)

        def logits(r: Tensor, a: Tensor) -> Tensor:
            return linear(r + linear(a, net.W_out), net.W_U)[:, :p]

        intact = logits(stream, active)

        def changed(place: str, alter: Altered) -> Tensor:
            if place == "logits":
                return alter(intact)
            if place == "neurons":
                return logits(stream, alter(active))
            r = alter(stream)
            return logits(r, linear(r, net.W_in).relu())

        def accuracy(table: Tensor) -> float:
            return float((table.argmax(1) == task.labels).double().mean())

        spaces = {k: families[k] for k in ("sum", "diff")} | {"axes": torch.cat([families["n"], families["m"]], 1)}
        drawn = list(random_functions(p * p, p - 1, draws, seed=seed))
        out: dict[str, Numbers] = {f"without_{name}": {} for name in (*spaces, "random", "placebo")}
        for place in ("after_attention", "neurons", "logits"):
            for name, q in spaces.items():
                out[f"without_{name}"][f"{place}_accuracy"] = accuracy(changed(place, Altered(q)))
            others = [Altered(q) for name, q in families.items() if name not in NAMED]
            out["without_placebo"][f"{place}_accuracy"] = min(accuracy(changed(place, a)) for a in others)
            random = [accuracy(changed(place, Altered(q))) for q in drawn]
            out["without_random"][f"{place}_accuracy"] = sum(random) / len(random)
            for name in ("sum", "diff"):
                answers = changed(place, Altered(residue=residues[name])).argmax(1)
                moved = float((answers != intact.argmax(1)).double().mean())
                out[f"without_{name}"][f"{place}_moved"] = moved
        out["intact"] = {"logits_accuracy": accuracy(intact)}
    return out


@dataclass(frozen=True)
class Altered:
    """A change of a table: a space with this orthonormal, centred basis taken out, or a residue's part moved by one."""

    functions: Tensor | None = None
    residue: Tensor | None = None

    def __call__(self, table: Tensor) -> Tensor:
        """The table after it."""
        if self.functions is not None:
            return table - self.functions @ (self.functions.T @ table)
        assert self.residue is not None
        return moved_functions(table, self.residue)


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: both networks, before and after training."""
    p = config.p
    transformer, task = trained_transformer(config, seed)
    progress(0.2, "Transformer")
    few = modular_task(p, config.mlp.train_fraction, modular_mlp.SPLIT_OFFSET + seed)
    mlp = modular_mlp.fit(config.mlp, few, seed)[0].cpu()
    progress(0.35, "MLP")
    keys = key_frequencies(transformer.W_E, p)

    kernels = mean_logit_kernels(config, transformer, mlp)
    metrics = shares_by_layer(kernels, p)
    null = nulls(kernels, config, seed)
    metrics |= _over_null(metrics, null)
    for layer in TENSORS:
        vectors = top_eigenpairs(kernels[layer], 1 + 4 * len(keys)).vectors
        metrics |= {f"{layer}_{k}": v for k, v in window_shares(vectors, p, keys).items() if "diff" not in k}
    seen = seen_kernels(transformer)
    seen_shares = shares_by_layer(seen, p)
    progress(0.65, "kernels")

    grams = {name: a @ a.T for name, a in layer_inputs(transformer, mlp).items()}
    pca_shares, pca_null = shares_by_layer(grams, p), nulls(grams, config, seed)
    start = (
        ModularTransformer(p, config.d_model, config.heads, config.d_mlp, seed),
        QuadraticMLP(p, config.hidden, seed),
    )
    before = mean_logit_kernels(config, *start)
    before_shares, before_null = shares_by_layer(before, p), nulls(before, config, seed)
    progress(0.85, "controls")
    ablated = transformer_ablation(transformer, task, max(1, config.draws // 10), seed)
    controls = null | {
        "seen": seen_shares | _over_null(seen_shares, nulls(seen, config, seed)),
        "pca": pca_shares | {k: v for k, v in _over_null(pca_shares, pca_null).items() if "fc1" not in k},
        "untrained": before_shares | _over_null(before_shares, before_null),
    }
    controls |= {name: ablated[name] for name in ablated if name != "without_sum"}
    metrics |= ablated["without_sum"] | identities(transformer, mlp, keys)
    metrics |= {f"untrained_{k}": v for k, v in identities(*start, keys).items() if k.startswith("identity_W")}
    metrics |= {"key_count": float(len(keys)), "accuracy": ablated["intact"]["logits_accuracy"]}
    return SeedRecord(metrics, controls, {}, {})


def chance(config: Config) -> Numbers:
    """Share of a family by accident, and accuracy of a constant answer."""
    one = 1 / (config.p + 1)
    shares = {f"{layer}_{k}": one * (2 if k == "axes" else 1) for layer in LAYERS for k in ("sum", "diff", "axes")}
    places = ("after_attention", "neurons", "logits")
    return shares | {f"{place}_accuracy": 1 / config.p for place in places} | {"accuracy": 1 / config.p}


EXPERIMENT = Experiment(
    name="layers",
    title="Which layer knows what: sum and axis modes by weight matrix, in the MLP and the Transformer",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), p=13, d_model=32, d_mlp=64, epochs=200, hidden=128, mlp_epochs=200, draws=20),
    seconds_per_seed=60.0,
    tolerances={"*": 0.1},
    cheap=False,
)


def run(
    config: Config | None = None,
    seeds: Iterable[int] = range(5),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
) -> Result:
    """Run the experiment over seeds; see :func:`entk_tutorial.experiments.base.run_experiment`.

    Example:
        >>> tiny = Config(p=7, d_model=8, heads=2, d_mlp=8, epochs=0, hidden=16, mlp_epochs=0, draws=2)
        >>> bool(run(tiny, seeds=[0]).metrics["identity_W_out"][0] < 1e-10)      # for any weights
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
