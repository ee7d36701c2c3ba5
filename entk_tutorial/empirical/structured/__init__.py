"""Contraction rules that give a layer's share of the kernel without forming its Jacobian."""

from entk_tutorial.empirical.structured.rules import TOKEN_GRAM_LIMIT, Factors, factors_of, rule_operations
from entk_tutorial.empirical.structured.taps import Tap, certified_parameters, record

__all__ = ["TOKEN_GRAM_LIMIT", "Factors", "Tap", "certified_parameters", "factors_of", "record", "rule_operations"]
