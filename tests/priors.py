"""Priors as users write them, for jobs to find by import path."""

from __future__ import annotations

import torch
from torch import nn

from diffpir import CustomPrior, Schedule
from diffpir.networks.diffusion import Prediction

LINEAR = Schedule.linear()


class Wiener(nn.Module):
    """The best linear estimate of x0 where pixels have this standard deviation and no relations."""

    def __init__(self, std: float = 0.5, schedule: Schedule = LINEAR):
        super().__init__()
        self.std = nn.Parameter(torch.tensor(std))
        self.schedule = schedule

    def forward(self, x_t, t: int, labels=None):
        x = x_t / float(self.schedule.alpha_bar[t]) ** 0.5
        power, noise = self.std**2, float(self.schedule.sigma_bar[t]) ** 2
        x0 = x * power / (power + noise)
        return x0 if labels is None else x0 * (1 - 0.2 * labels[:, None, None, None])


def wiener(classes: int = 0, path: str | None = None, multiple: int = 1) -> CustomPrior:
    net = Wiener()
    if path:
        net.load_state_dict(torch.load(path, weights_only=True))
    return CustomPrior(network=net, schedule=LINEAR, classes=classes, multiple=multiple)


class Predicting(nn.Module):
    """:class:`Wiener` as a network that answers something else, one timestep for each image."""

    def __init__(self, prediction: Prediction):
        super().__init__()
        self.net, self.prediction = Wiener(), prediction

    def forward(self, x, t):
        assert t.dtype is torch.int64 and t.shape == (len(x),)
        a = torch.from_numpy(LINEAR.alpha_bar)[t].float()[:, None, None, None]
        x0 = torch.cat([self.net(x[i : i + 1], int(t[i])) for i in range(len(x))])
        eps = (x - a**0.5 * x0) / (1 - a) ** 0.5
        return {"x0": x0, "epsilon": eps, "v": a**0.5 * eps - (1 - a) ** 0.5 * x0}[self.prediction]


def predicting(prediction: Prediction) -> CustomPrior:
    return CustomPrior(network=Predicting(prediction), schedule=LINEAR, prediction=prediction)


class Types(nn.Module):
    """Remembers the type that its convolution computed in."""

    def __init__(self):
        super().__init__()
        self.conv, self.seen = nn.Conv2d(3, 3, 1), None

    def forward(self, x_t, t):
        assert x_t.dtype is torch.float32
        answer = self.conv(x_t)
        self.seen = answer.dtype
        return answer


class Preconditioned(nn.Module):
    """EDM's ``D(x, sigma)`` (Karras et al. 2022, eq. 7) around a convolution."""

    def __init__(self, sigma_data: float = 0.5):
        super().__init__()
        self.net, self.sigma_data = nn.Conv2d(4, 3, 3, padding=1), sigma_data

    def forward(self, x, sigma):
        s, d = sigma.float()[:, None, None, None], self.sigma_data
        noise = (s.log() / 4).expand(-1, 1, *x.shape[2:])
        out = self.net(torch.cat([x / (s**2 + d**2) ** 0.5, noise], dim=1))
        return d**2 / (s**2 + d**2) * x + s * d / (s**2 + d**2) ** 0.5 * out


def unseeded() -> CustomPrior:
    return CustomPrior(network=Types(), schedule=LINEAR)


def of(network) -> CustomPrior:
    return CustomPrior(network=network, schedule=LINEAR)


# What is no prior.


def nothing() -> None:
    pass


def raises() -> CustomPrior:
    raise ValueError("no weights here")


def a_tuple() -> CustomPrior:
    return of(lambda x, t: (x, t))


def smaller() -> CustomPrior:
    return of(lambda x, t: x[..., ::2, ::2])


def whole_numbers() -> CustomPrior:
    return of(lambda x, t: x.long())


def not_finite() -> CustomPrior:
    return of(lambda x, t: x / 0)


def mixes_a_batch() -> CustomPrior:
    return of(lambda x, t: x - x.mean(dim=0, keepdim=True))


def random() -> CustomPrior:
    return of(lambda x, t: x + torch.randn_like(x))


def one_size() -> CustomPrior:
    return of(lambda x, t: x + torch.zeros(64, 64))


def no_schedule() -> CustomPrior:
    return CustomPrior(network=Wiener(), schedule=torch.linspace(1e-4, 0.02, 1000))


def wrong_prediction() -> CustomPrior:
    return CustomPrior(network=Wiener(), schedule=LINEAR, prediction="noise")


def no_grad() -> CustomPrior:
    return of(torch.no_grad()(Wiener().forward))
