"""Kernels of finite networks: exact, planned, with eigenpairs and the linearised model."""

from entk_tutorial.empirical.eigen import top_eigenpairs
from entk_tutorial.empirical.errors import (
    FallbackWarning,
    InputError,
    MemoryPlanError,
    ModelError,
    RankWarning,
    ResidualWarning,
)
from entk_tutorial.empirical.functional import ModelFunction, functional
from entk_tutorial.empirical.jacobian import jacobian
from entk_tutorial.empirical.kernel import empirical_ntk, plan
from entk_tutorial.empirical.linearized import LinearizedModel
from entk_tutorial.empirical.operator import NTKOperator, ProductPlan
from entk_tutorial.empirical.pairs import Eigenpairs, GramEigenpairs, SketchEigenpairs
from entk_tutorial.empirical.parameter_gram import parameter_gram_eigenpairs
from entk_tutorial.empirical.planning import ParameterPlan, Plan
from entk_tutorial.empirical.spectrum import Cliffs, cliffs, effective_rank

__all__ = [
    "Cliffs",
    "Eigenpairs",
    "FallbackWarning",
    "GramEigenpairs",
    "InputError",
    "LinearizedModel",
    "MemoryPlanError",
    "ModelError",
    "ModelFunction",
    "NTKOperator",
    "ParameterPlan",
    "Plan",
    "ProductPlan",
    "RankWarning",
    "ResidualWarning",
    "SketchEigenpairs",
    "cliffs",
    "effective_rank",
    "empirical_ntk",
    "functional",
    "jacobian",
    "parameter_gram_eigenpairs",
    "plan",
    "top_eigenpairs",
]
