"""What is done to a model's input in training, so that it leans less on any part of it. All are off by default.

`embeddings` are (rows, tokens, size); `mask`, `ids` and `labels` (rows, tokens), the mask 1 where no padding is.
"""

import torch
from torch import Tensor

from finetune.model import IGNORED


def earlier_replies_dropped(embeddings: Tensor, labels: Tensor, share: float) -> Tensor:
    """Blank a share of the reply tokens that later ones are said after, as whole words at the input.

    Bowman et al., "Generating sentences from a continuous space", arXiv 1511.06349: who cannot lean on every word said
    has to hold on to what was asked.
    """
    dropped = (labels != IGNORED) & (torch.rand(labels.shape, device=labels.device) < share)
    return embeddings * ~dropped[..., None]


def sampled_inputs(ids: Tensor, labels: Tensor, guesses: Tensor, share: float) -> Tensor:
    """Put the model's own guess in place of a share of the reply tokens at the input; the labels stay.

    `guesses` (n,) are for the places with a label, in order. In two passes, as Mihaylova and Martins, "Scheduled
    sampling for transformers", arXiv 1906.07651; after Bengio et al., arXiv 1506.03099.
    """
    said = labels != IGNORED
    said[:, 0] = False
    own = ids.clone()
    own[said] = guesses
    return torch.where(said & (torch.rand(ids.shape, device=ids.device) < share), own, ids)


def noise(embeddings: Tensor, mask: Tensor, strength: float) -> Tensor:
    """Return uniform noise of up to strength / sqrt(tokens * size) for each row, by its length without padding.

    Jain et al., "NEFTune", arXiv 2310.05914.
    """
    most = strength / (mask.sum(1).float() * embeddings.shape[-1]).sqrt()
    drawn = torch.rand_like(embeddings, dtype=torch.float32) * 2 - 1
    return (drawn * (most[:, None] * mask)[..., None]).to(embeddings.dtype)


def worst_direction(gradient: Tensor, strength: float) -> Tensor:
    """Return strength * g / |g| for each row: the step of that length which raises its loss most.

    The fast gradient method on embeddings: Miyato et al., "Adversarial training methods for semi-supervised text
    classification", arXiv 1605.07725.
    """
    length = gradient.float().flatten(1).norm(dim=1).clamp(min=1e-12)
    step: Tensor = strength * gradient.float() / length[:, None, None]
    return step.to(gradient.dtype)
