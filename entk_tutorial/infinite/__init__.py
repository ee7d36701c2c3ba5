"""Kernels of infinitely wide text models in closed form, and training with them."""

from entk_tutorial.infinite.attention import attention_kernel
from entk_tutorial.infinite.cnn import cnn_constants, cnn_kernel
from entk_tutorial.infinite.dual import Dual, activation_mean, dual_activation
from entk_tutorial.infinite.feature_maps import (
    FeatureMap,
    attention_features,
    cnn_features,
    gated_rnn_features,
    hadamard_features,
    linear_features,
    mlp_features,
    mv_features,
)
from entk_tutorial.infinite.gradient_flow import (
    Descent,
    Flow,
    critical_learning_rate,
    double_difference,
    gradient_flow,
    interaction_documents,
    kernel_gradient_descent,
    label_scores,
)
from entk_tutorial.infinite.kernel import Kernel
from entk_tutorial.infinite.linear import linear_kernel
from entk_tutorial.infinite.mlp import mlp_constants, mlp_kernel
from entk_tutorial.infinite.multiplicative import hadamard_kernel, mv_kernel
from entk_tutorial.infinite.recurrent import matrix_product_kernel, rnn_kernel
from entk_tutorial.infinite.tokens import Documents, as_documents

__all__ = [
    "Descent",
    "Documents",
    "Dual",
    "FeatureMap",
    "Flow",
    "Kernel",
    "activation_mean",
    "as_documents",
    "attention_features",
    "attention_kernel",
    "cnn_constants",
    "cnn_features",
    "cnn_kernel",
    "critical_learning_rate",
    "double_difference",
    "dual_activation",
    "gated_rnn_features",
    "gradient_flow",
    "hadamard_features",
    "hadamard_kernel",
    "interaction_documents",
    "kernel_gradient_descent",
    "label_scores",
    "linear_features",
    "linear_kernel",
    "matrix_product_kernel",
    "mlp_constants",
    "mlp_features",
    "mlp_kernel",
    "mv_features",
    "mv_kernel",
    "rnn_kernel",
]
