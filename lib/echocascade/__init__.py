"""echocascade: feature-conditioned cascaded video diffusion for echocardiogram synthesis.

Reynaud et al., MICCAI 2023. Modules import downwards only (see README, "The house").
"""

__version__ = "0.1.0"
