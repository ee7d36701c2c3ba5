"""Layer by layer through a model: kernels, eigenvectors, the inputs that excite them, and what they show."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entk_tutorial.empirical import Eigenpairs, MemoryPlanError, effective_rank, empirical_ntk, plan, top_eigenpairs
from entk_tutorial.empirical.functional import RawInputs
from entk_tutorial.empirical.planning import readable
from entk_tutorial.empirical.similarity import centered_cosine
from entk_tutorial.features.alignment import overlap_chance, permutation_null, subspace_overlap
from entk_tutorial.features.localisation import centred
from entk_tutorial.survey.readout import Readout, refuse_half_precision

Groups = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Shown:
    """How much of a feature a layer's leading directions show.

    Attributes:
        share: share of the feature's span that lies in theirs, in [0, 1].
        chance: what random directions share on average, d / (N - 1).
        null: the 95 % point of the share under permutations of the inputs.
        best: largest absolute cosine between one direction and a column of the feature.
    """

    share: float
    chance: float
    null: float
    best: float


@dataclass(frozen=True)
class LayerSurvey:
    """One group of parameters.

    Attributes:
        kernel: (N, N) trace kernel over the outputs, uncentred, of these parameters alone.
        pairs: leading eigenpairs of the centred kernel: the constant is taken out.
        rank: effective rank of its whole spectrum.
        weight: its share of the trace of the sum over all groups.
        parameters: number of parameters.
    """

    kernel: Tensor
    pairs: Eigenpairs
    rank: float
    weight: float
    parameters: int

    def exciting(self, i: int, names: Sequence[str], *, count: int = 5) -> tuple[list[str], list[str]]:
        """Names of the inputs with the largest and with the smallest coefficient on eigenvector i, from 0.

        The sign of an eigenvector means nothing, and inside a group of close eigenvalues neither does the vector.

        Raises:
            ValueError: an index that does not exist, or another number of names than of inputs.
        """
        n, k = self.pairs.vectors.shape
        if not 0 <= i < k:
            raise ValueError(f"i={i}; eigenvectors 0 to {k - 1} were computed. Ask for more with k=...")
        if len(names) != n:
            raise ValueError(f"{len(names)} names for {n} inputs; one name an input is expected.")
        order = torch.argsort(self.pairs.vectors[:, i], descending=True).tolist()
        return [names[j] for j in order[:count]], [names[j] for j in order[: -count - 1 : -1]]


@dataclass(frozen=True)
class Survey:
    """All groups of a model, by name."""

    layers: dict[str, LayerSurvey]

    def __getitem__(self, name: str) -> LayerSurvey:
        """One group; an unknown name is answered with those there are."""
        if name not in self.layers:
            raise KeyError(f"no layer {name!r}; there are {', '.join(self.layers)}")
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the groups."""
        return iter(self.layers)

    def alignment(self) -> Tensor:
        """(L, L) centred cosines between the kernels of the groups: 1 for the same up to scale."""
        kernels = [layer.kernel for layer in self.layers.values()]
        out = torch.ones(len(kernels), len(kernels), dtype=torch.float64)
        for i, a in enumerate(kernels):
            for j in range(i):
                out[i, j] = out[j, i] = centered_cosine(a, kernels[j])
        return out


def survey(
    model: nn.Module,
    x: RawInputs,
    *,
    groups: Groups | None = None,
    k: int = 16,
    max_bytes: int | None = None,
    progress: bool = False,
) -> Survey:
    """Kernel, leading eigenpairs and effective rank of each group of parameters, from one pass of the engine.

    Args:
        model: a module with (N, C) outputs, such as :func:`~entk_tutorial.survey.readout` makes; names inside a
            ``Readout`` are those of the model in it. Call ``model.eval()`` first.
        x: the N inputs; see :func:`~entk_tutorial.empirical_ntk`.
        groups: name -> how the names of its parameters begin (one beginning, or several). Other parameters are held
            fixed. None for one group a module that owns parameters.
        k: eigenpairs of each group's centred kernel.
        max_bytes: peak extra memory; by default half of what is free.
        progress: show a bar on stderr.

    Raises:
        ValueError: a beginning that fits no parameter, or a parameter in two groups; k outside [1, N - 1].
        ModelError, InputError: as :func:`~entk_tutorial.empirical_ntk`; parameters in half precision.
        MemoryPlanError: if it does not fit, before anything large is allocated; with how many inputs would.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
        >>> found = survey(net, torch.randn(20, 2), groups={"first": "0.", "last": "2."}, k=4)
        >>> list(found), found["last"].pairs.vectors.shape, found["last"].parameters
        (['first', 'last'], torch.Size([20, 4]), 27)

    Chapter: book/beyond/your-own-model
    """
    refuse_half_precision(model)
    members = _members(model, groups)
    with _only({p for names in members.values() for p in names}, model):
        kernels = _kernels(model, x, members, max_bytes, progress)
    n = len(next(iter(kernels.values())))
    if not 1 <= k <= n - 1:
        raise ValueError(f"k={k}; a centred kernel of {n} inputs has at most {n - 1} eigenpairs.")
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    total = sum(float(kernel.diagonal().double().sum()) for kernel in kernels.values())
    layers = {}
    for name, kernel in kernels.items():
        if not bool(kernel.any()):
            continue  # no output depends on it, such as a pooler beside the output that was chosen
        pairs = top_eigenpairs(centred(kernel))
        top = Eigenpairs(pairs.values[:k], pairs.vectors[:, :k], pairs.residuals[:k], pairs.method)
        layers[name] = LayerSurvey(
            kernel=kernel,
            pairs=top,
            rank=effective_rank(pairs.values),
            weight=float(kernel.diagonal().double().sum()) / total,
            parameters=sum(sizes[p] for p in members[name]),
        )
    return Survey(layers)


def shown(directions: Tensor, features: Mapping[str, Tensor], *, draws: int = 100, seed: int = 0) -> dict[str, Shown]:
    """How much of each feature lies in the span of some directions, beside chance and a permutation null.

    Args:
        directions: (N, d), e.g. ``found["block 3"].pairs.vectors[:, :8]`` or principal components.
        features: name -> (N,) or (N, m) values; labels of several classes as one-hot columns.
        draws: permutations of the inputs for the null.
        seed: of the private generator.

    Raises:
        ValueError: a feature of another length, one that is constant, or whole numbers of more than two values in one
            column (class numbers have an order only if they mean one).

    Example:
        >>> feature = torch.tensor([1.0, 1.0, -1.0, -1.0])
        >>> found = shown(feature[:, None], {"known": feature})["known"]
        >>> round(found.share, 6), round(found.chance, 6)
        (1.0, 0.333333)

    Chapter: book/beyond/your-own-model
    """
    n, d = directions.shape
    out = {}
    for name, given in features.items():
        if given.ndim == 1 and not given.is_floating_point() and len(given.unique()) > 2:
            raise ValueError(
                f"feature {name!r} holds whole numbers of {len(given.unique())} values: class numbers have no order. "
                "Give torch.nn.functional.one_hot(labels), or labels.float() if the order means something."
            )
        values = (given[:, None] if given.ndim == 1 else given).double()
        overlap = subspace_overlap(directions, values)
        size = len(torch.linalg.svdvals(values - values.mean(0)).gt(1e-9 * values.norm()).nonzero())
        null = permutation_null(directions, values, draws=draws, seed=seed) / size
        middle = values - values.mean(0)
        lengths = middle.norm(dim=0)
        cosines = (directions.double().T @ middle[:, lengths > 1e-9 * values.norm()]).abs()
        best = cosines / directions.double().norm(dim=0)[:, None] / lengths[lengths > 1e-9 * values.norm()]
        out[name] = Shown(
            overlap.value / size,
            overlap_chance(d, 1, n, excluded=1),
            float(null.quantile(0.95)),
            float(best.max()),
        )
    return out


def _members(model: nn.Module, groups: Groups | None) -> dict[str, list[str]]:
    """Group -> full names of its parameters."""
    inner = "model." if isinstance(model, Readout) else ""
    names = [n for n, p in model.named_parameters() if p.requires_grad or groups is not None]
    if groups is None:
        out: dict[str, list[str]] = {}
        for name in names:
            out.setdefault(name.removeprefix(inner).rpartition(".")[0], []).append(name)
        return out
    members: dict[str, list[str]] = {}
    taken: dict[str, str] = {}
    for group, beginnings in groups.items():
        starts = [beginnings] if isinstance(beginnings, str) else list(beginnings)
        members[group] = []
        for start in starts:
            fitting = [n for n in names if n.removeprefix(inner).startswith(start)]
            if not fitting:
                near = difflib.get_close_matches(start, [n.removeprefix(inner) for n in names], n=3, cutoff=0.0)
                raise ValueError(f"group {group!r}: no parameter begins with {start!r}; near are {', '.join(near)}.")
            for name in fitting:
                if taken.setdefault(name, group) != group:
                    raise ValueError(f"parameter {name!r} is in the groups {taken[name]!r} and {group!r}; one counts.")
            members[group] += [n for n in fitting if n not in members[group]]
    return members


@contextmanager
def _only(wanted: set[str], model: nn.Module) -> Iterator[None]:
    """Differentiate with respect to these parameters alone; the caller's flags come back, whatever happens."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        for name, p in model.named_parameters():
            p.requires_grad_(name in wanted)
        yield
    finally:
        for name, p in model.named_parameters():
            p.requires_grad_(before[name])


def _kernels(
    model: nn.Module, x: RawInputs, members: Mapping[str, Sequence[str]], max_bytes: int | None, progress: bool
) -> dict[str, Tensor]:
    try:
        parts = empirical_ntk(model, x, reduce="trace", by="parameter", max_bytes=max_bytes, progress=progress)
    except MemoryPlanError as error:
        error.add_note(_cure(members))
        raise
    assert isinstance(parts, dict)
    return {
        group: torch.stack([parts.pop(name) for name in names]).sum(0) if len(names) > 1 else parts.pop(names[0])
        for group, names in members.items()
    }


def _cure(members: Mapping[str, Sequence[str]]) -> str:
    count = sum(len(names) for names in members.values())
    return (
        f"A survey keeps one N x N kernel for each of {count} parameters until they are added up. Draw fewer inputs "
        "(gather(loader, n=...)), or survey some groups at a time; sampling_error says what fewer inputs cost."
    )


def cost(model: nn.Module, x: RawInputs, *, groups: Groups | None = None, max_bytes: int | None = None) -> str:
    """What :func:`survey` would take, before it is run: parameters without a rule, memory, tiles.

    Raises:
        The same errors as :func:`survey`.

    Chapter: book/beyond/your-own-model
    """
    refuse_half_precision(model)
    members = _members(model, groups)
    with _only({p for names in members.values() for p in names}, model):
        try:
            the_plan = plan(model, x, reduce="trace", by="parameter", max_bytes=max_bytes)
        except MemoryPlanError as error:
            error.add_note(_cure(members))
            raise
    general = len(the_plan.general)
    return (
        f"{len(the_plan.structured)} parameters by rule, {general} by Jacobian (slow); "
        f"tiles of {the_plan.tile} inputs; {readable(the_plan.total_bytes)} of {readable(the_plan.limit)} allowed"
    )
