"""What training makes smaller: losses in nats, one for each of n places where a token is said, or for each reply.

`logits` are (n, vocabulary), `tokens` (n,); all is computed in float32, whatever the model is in. The bad token of a
negative is never given minus its likelihood: that has no lower end, and unlearns everything else on its way down.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.chances import log_chances

_NEVER = -1e4  # as a logit or log-probability: never said, and yet a number to reckon with
LIKELY = 64  # tokens that the base model's distribution is kept of, at each place; the others are taken together


def mle(logits: Tensor, tokens: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return -log p(token), (n,): maximum likelihood.

    With `smoothing` e the target is 1 - e on the token and e spread over the vocabulary: Szegedy et al., "Rethinking
    the Inception architecture", arXiv 1512.00567.
    """
    if smoothing:
        return F.cross_entropy(logits.float(), tokens, reduction="none", label_smoothing=smoothing)
    return -log_chances(logits, tokens[:, None])[:, 0]


def unlikelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return -log(1 - p(token)), (n,): Welleck et al., "Neural text generation with unlikelihood training", 1908.04319.

    1 - p is summed over the other tokens, so that neither it nor its gradient breaks where p is nearly 1.
    """
    logits = logits.float()
    others = logits.scatter(1, tokens[:, None], -torch.inf)
    return logits.logsumexp(-1) - others.logsumexp(-1)


def cringe(logits: Tensor, tokens: Tensor, top: int = 5) -> Tensor:
    """Return log(1 + exp(s(token) - s(other))), (n,): Adolphs et al., "The CRINGE loss", arXiv 2211.05826.

    s are logits; the other token is drawn from the model's `top` likeliest, the bad one left out: what it could have
    said instead, as far as it knows.
    """
    logits = logits.float()
    bad = logits.gather(1, tokens[:, None])
    likely = logits.detach().scatter(1, tokens[:, None], -torch.inf).topk(min(top, logits.shape[1] - 1))
    drawn = likely.indices.gather(1, likely.values.softmax(-1).multinomial(1))
    return F.softplus(bad - logits.gather(1, drawn))[:, 0]


def reward(gains: Tensor, signs: Tensor, strength: float = 0.1) -> Tensor:
    """Return -log sigmoid(sign * strength * gain), (rows,), of whole replies.

    `gains` (rows,) are log p(reply | prompt) - log p_base(reply | prompt), sums over a reply's tokens; `signs` are 1
    for a liked and -1 for a disliked one. What is trained is a classifier whose logit is the implicit reward of DPO:
    Jung et al., "Binary classifier optimization", arXiv 2404.04656, equation 3, without its shift; its disliked half
    is NPO, Zhang et al., arXiv 2404.05868. It nears 0 once a reply has moved by a few 1 / strength nats.
    """
    return -F.logsigmoid(signs * strength * gains)


def drift(gains: Tensor) -> Tensor:
    """Return exp(gain) - 1 - gain, (n,), of tokens that the base model said itself.

    `gains` (n,) are log p(token) - log p_base(token). While none is above 1 its mean over what the base says is
    KL(base || candidate); it is never below 0, and it needs no more of the base than these tokens' log-probabilities:
    the estimator k3 of Schulman, "Approximating KL divergence", 2020. From a gain of 1 on it goes on in a straight
    line: what ends a liked reply early may become many times likelier.
    """
    low = gains.clamp(max=1.0)
    return low.exp() * (1 + gains - low) - 1 - gains


def own_repeats(logits: Tensor, tokens: Tensor, replies: Tensor) -> Tensor:
    """Return the sum of -log(1 - p(earlier)) over the tokens said earlier in the same reply, (n,).

    `replies` (m,) tells which reply each of `tokens` (m,) is in, in order; the logits are those of the last n of them,
    so that what a reply said before those counts too. What is to be said now is no repeat, and a token said twice
    counts once. The token-level objective of Welleck et al., arXiv 1908.04319.
    """
    m = len(tokens)
    same_reply, same_token = replies[:, None] == replies[None], tokens[:, None] == tokens[None]
    earlier = torch.ones(m, m, dtype=torch.bool, device=tokens.device).tril(-1)
    again = (same_reply & same_token & earlier).any(1)  # said before: its first place stands for it
    said = (same_reply & earlier & ~same_token & ~again[None])[m - len(logits) :]
    chances = logits.float().softmax(-1)[:, tokens].clamp(max=1 - 1e-6)
    return -(torch.log1p(-chances) * said).sum(-1)


def likely_tokens(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ids and log-probabilities, both (n, up to LIKELY), of the likeliest tokens."""
    chances = torch.log_softmax(logits.float(), -1).topk(min(LIKELY, logits.shape[-1] - 1))
    return chances.indices, chances.values


def divergence_from_base(logits: Tensor, ids: Tensor, base: Tensor) -> Tensor:
    """Return KL(base || candidate), (n,), over the base's likeliest tokens and all others taken together.

    sum_v p_base(v) (log p_base(v) - log p(v)); `ids` and `base` as `likely_tokens` gives them. Taking tokens together
    makes it smaller by what only moves among those: Kullback and Leibler, "On information and sufficiency", 1951.
    """
    chances = log_chances(logits, ids)
    both = torch.stack([_with_rest(base.float()), _with_rest(chances)])
    return (both[0].exp() * (both[0] - both[1])).sum(-1)


def divergence_before_end(logits: Tensor, ids: Tensor, base: Tensor, ends: Tensor) -> Tensor:
    """Return (1 - p_base(end)) KL(base || candidate), (n,), of what is said where no reply ends.

    What `divergence_from_base` holds beside whether one of the tokens `ends` (k,) is said: the second part of the
    chain rule of relative entropy (Cover and Thomas, "Elements of information theory", theorem 2.5.3).
    """
    is_end = torch.isin(ids, ends)
    goes_on = (1 - (base.exp() * is_end).sum(-1)).clamp(min=1e-6)
    others = (base - goes_on.log()[:, None]).masked_fill(is_end, _NEVER)
    return goes_on * divergence_from_base(logits.index_fill(1, ends, _NEVER), ids, others)


def _with_rest(chances: Tensor) -> Tensor:
    """Add a column for all tokens left out; rounding may leave them nothing, never less."""
    rest = (1 - chances.exp().sum(-1, keepdim=True)).clamp(min=1e-6).log()
    return torch.cat([chances, rest], -1)


def differing(bad: Sequence[int], good: Sequence[int]) -> list[bool]:
    """Tell for each token of a bad reply whether the good one has others in its place.

    By longest common parts (Ratcliff and Metzener, "Pattern matching: the Gestalt approach", 1988).
    """
    differs = [True] * len(bad)
    for block in SequenceMatcher(None, bad, good, autojunk=False).get_matching_blocks():
        differs[block.a : block.a + block.size] = [False] * block.size
    return differs
