"""Your own model: from a module and a data loader to layerwise kernels, eigenvectors and exciting inputs."""

from entk_tutorial.survey.baselines import layer_activations, layer_cotangents, random_readouts
from entk_tutorial.survey.batches import Sample, gather
from entk_tutorial.survey.layers import LayerSurvey, Shown, Survey, cost, shown, survey
from entk_tutorial.survey.readout import Readout, readout
from entk_tutorial.survey.sampling import SamplingError, leading_subspace, projector_distance, sampling_error

__all__ = [
    "LayerSurvey",
    "Readout",
    "Sample",
    "SamplingError",
    "Shown",
    "Survey",
    "cost",
    "gather",
    "layer_activations",
    "layer_cotangents",
    "leading_subspace",
    "projector_distance",
    "random_readouts",
    "readout",
    "sampling_error",
    "shown",
    "survey",
]
