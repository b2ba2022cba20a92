"""Muon for hidden matrices, AdamW for the rest: a cold start in several times fewer steps; short, as torch has both."""

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` (Jordan et al. 2024, "Muon: an optimizer for hidden layers") and `torch.optim.AdamW` as one.

    Muon takes the two-dimensional weights of the layers; embeddings, output layer, norms and biases go to AdamW. The
    learning-rate schedule scales both.

    Args:
        model: a model whose hidden weights have "layers" in their names, as transformers' have.
        muon_lr: learning rate of Muon.
        adamw: arguments of AdamW, such as lr and betas.
    """

    def __init__(self, model: torch.nn.Module, muon_lr: float, **adamw):
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        hidden = [p for name, p in named if p.ndim == 2 and "layers." in name]
        others = [p for name, p in named if not (p.ndim == 2 and "layers." in name)]
        self.parts = [torch.optim.Muon(hidden, lr=muon_lr, weight_decay=0.0), torch.optim.AdamW(others, **adamw)]
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        # one set of group dictionaries, so that a schedule that writes into ours is seen by the parts
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups = [group]

    def step(self, closure=None):
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


class MuonFactory:
    """What transformers' Trainer calls to make an optimizer that needs the whole model."""

    def __call__(self, model: torch.nn.Module, **kwargs) -> MuonWithAdamW:
        return MuonWithAdamW(model, **kwargs)
