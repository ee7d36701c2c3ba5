"""Kernels of finite networks: exact, planned, with eigenpairs and the linearised model."""

from entk_tutorial.empirical.eigen import Cliffs, Eigenpairs, cliffs, effective_rank, top_eigenpairs
from entk_tutorial.empirical.errors import FallbackWarning, InputError, MemoryPlanError, ModelError
from entk_tutorial.empirical.functional import ModelFunction, functional
from entk_tutorial.empirical.jacobian import jacobian
from entk_tutorial.empirical.kernel import empirical_ntk, plan
from entk_tutorial.empirical.linearized import LinearizedModel
from entk_tutorial.empirical.parameter_gram import GramEigenpairs, parameter_gram_eigenpairs
from entk_tutorial.empirical.planning import Plan

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
    "Plan",
    "cliffs",
    "effective_rank",
    "empirical_ntk",
    "functional",
    "jacobian",
    "parameter_gram_eigenpairs",
    "plan",
    "top_eigenpairs",
]
