"""Contraction rules that give a parameter's share of the kernel without forming its Jacobian."""

from entk_tutorial.empirical.structured.certificate import LAYER_KINDS, Recording, certified_parameters, record
from entk_tutorial.empirical.structured.rules import (
    TOKEN_GRAM_LIMIT,
    Factors,
    JointFactors,
    Part,
    parts_of,
    rule_operations,
)
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap

__all__ = [
    "LAYER_KINDS",
    "TOKEN_GRAM_LIMIT",
    "Factors",
    "JointFactors",
    "ParameterTap",
    "Part",
    "Recording",
    "Tap",
    "certified_parameters",
    "parts_of",
    "record",
    "rule_operations",
]
