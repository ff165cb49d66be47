"""AugMem's behaviour, transcribed slowly in float64: every tensor spelled out, a loop for every rule.

It shares with the agent only the order of random draws: those of the first slots, then one number for each replayed
image.
"""

import numpy as np
import torch

D, SIDE, WIDTH = 6, 3, 2
GROUPS = D // WIDTH


class Witness:
    """Sections 1 to 5 of the behaviour, one loop at a time; `published` turns each known defect on."""

    def __init__(self, agent, published):
        self.c, self.published = agent.config, published
        self.random = torch.Generator().manual_seed(3)
        self.scale = None
        if self.c.slots_from == "normal":
            slots = torch.randn(self.c.slots, WIDTH, generator=self.random)
        else:
            slots = torch.zeros(self.c.slots, WIDTH)
        conv, _, _, _, linear = agent.network.plastic
        self.p = [conv.weight, conv.bias, linear.weight, linear.bias, slots]
        self.p = [t.detach().double().clone().requires_grad_() for t in self.p]
        self.velocity = [None] * 5
        self.lr = self.c.lr
        self.anchor = self.p[4].detach().clone()
        self.used = set()
        self.store = {}  # label -> list of (indices, scores)
        self.log = []
        self.largest = 0.0

    def plastic(self, x):
        w, b, v, c, _ = self.p
        patches = [x[:, :, i : i + 2, j : j + 2] for i in range(SIDE - 1) for j in range(SIDE - 1)]
        maps = [torch.relu(torch.einsum("bdij,odij->bo", patch, w) + b) for patch in patches]
        return torch.stack(maps).mean(0) @ v.T + c

    def attend(self, x):
        """Weights [B, row, column, group, slot], in full."""
        groups = torch.stack([x[:, g * WIDTH : (g + 1) * WIDTH] for g in range(GROUPS)], dim=1)
        if self.c.slots_from == "normal":
            near = torch.einsum("bgfij,kf->bijgk", groups, self.p[4])
        else:
            apart = groups.permute(0, 3, 4, 1, 2).unsqueeze(4) - self.p[4]
            near = -(apart**2).sum(5) / (2 * self.scale)
        return torch.softmax(self.c.sharpness * near, dim=4)

    def fit(self, x):
        reads = x.numpy().reshape(len(x), GROUPS, WIDTH, SIDE, SIDE).transpose(0, 3, 4, 1, 2)
        slots, self.scale = fitted(reads.reshape(-1, WIDTH), self.c.slots, self.random)
        self.p[4].data = torch.from_numpy(slots)
        self.anchor = self.p[4].detach().clone()

    def maps(self, weights):
        reads = torch.einsum("bijgk,kf->bgfij", weights, self.p[4])
        return reads.reshape(len(weights), D, SIDE, SIDE)

    def bce(self, student, teacher, active):
        p, q = torch.sigmoid(student[:, :active]), torch.sigmoid(teacher[:, :active]).detach()
        return -(q * torch.log(p) + (1 - q) * torch.log(1 - p)).mean()

    def ce(self, scores, y, active):
        return -torch.log_softmax(scores[:, :active], 1)[torch.arange(len(y)), y].mean()

    def step(self, loss):
        grads = torch.autograd.grad(loss, self.p, allow_unused=True)
        for i, (p, g) in enumerate(zip(self.p, grads, strict=True)):
            if g is None:
                continue
            self.largest = max(self.largest, g.abs().max().item())
            g = g.clamp(-10, 10) + self.c.weight_decay * p.detach()
            old = self.velocity[i]
            self.velocity[i] = g if old is None else self.c.momentum * old + g
            p.data -= self.lr * self.velocity[i]

    def observe(self, x, y, task):
        c, active = self.c, 2 * task + 2
        if c.slots_from == "features" and self.scale is None:
            self.fit(x)
        direct, mem = self.plastic(x), self.plastic(self.maps(self.attend(x)))
        loss = self.ce(mem, y, active) + self.ce(direct, y, active)
        student, teacher = (direct, mem) if self.published else (mem, direct)
        loss = loss + c.distillation_weight * self.bce(student, teacher, active)
        for k in self.used:
            loss = loss + c.regulariser_weight * ((self.p[4][k] - self.anchor[k]) ** 2).sum()
        self.step(loss)
        if self.published:
            self.anchor = self.p[4].detach().clone()
        self.log.append(loss.item())
        labels = [label for label in range(active) if label in self.store and label not in y.tolist()]
        if task > 0 and labels:
            last = [self.replay(labels, y, active) for _ in range(c.replay_times)][-1:]
            self.log += last

    def replay(self, labels, y, active):
        rows, targets = [], []
        for _ in range(int(np.ceil(len(y) / len(labels)))):
            draws = torch.rand(len(labels), dtype=torch.float64, generator=self.random).tolist()
            for label, draw in zip(labels, draws, strict=True):
                rows.append(self.store[label][int(draw * len(self.store[label]))])
                targets.append(label)
        maps = torch.zeros(len(rows), D, SIDE, SIDE, dtype=torch.float64)
        for b, (indices, _) in enumerate(rows):
            for place, k in enumerate(indices):
                pixel, g = divmod(place, GROUPS)
                i, j = divmod(pixel, SIDE)
                maps[b, g * WIDTH : (g + 1) * WIDTH, i, j] = self.p[4][k].detach()
        scores, stored = self.plastic(maps), torch.stack([s for _, s in rows])
        student, teacher = (stored, scores) if self.published else (scores, stored)
        loss = self.ce(scores, torch.tensor(targets), active)
        loss = loss + self.c.distillation_weight * self.bce(student, teacher, active)
        self.step(self.c.replay_weight * loss)
        return self.c.replay_weight * loss.item()

    def end_task(self, x, y, task):
        cap, size = self.c.memory_size // (2 * task + 2), self.c.batch_size
        fresh = {}
        with torch.no_grad():
            weights, scores = self.attend(x), self.plastic(x)
            reads = self.maps(weights).flatten(1).numpy()
        for low in range(0, len(y), size):
            for label in sorted(set(y.tolist())):
                items = [i for i in range(low, min(low + size, len(y))) if y[i] == label]
                fresh[label] = fresh.get(label, []) + (items if self.c.herding else items[::5])
        for label, items in fresh.items():
            items = self.herd(reads, items, cap) if self.c.herding else items[-cap:]
            self.store[label] = [(weights[i].argmax(3).flatten().tolist(), scores[i]) for i in items]
        for label, rows in self.store.items():
            if self.c.herding:
                self.store[label] = rows[:cap]
            elif not self.published:
                self.store[label] = rows[-cap:]
            self.used |= {k for indices, _ in self.store[label] for k in indices}
        self.anchor = self.p[4].detach().clone()
        if task > 0 and self.c.lr_after_first is not None:
            self.lr = self.c.lr_after_first

    def herd(self, reads, items, cap):
        phi = reads[items] / np.linalg.norm(reads[items], axis=1, keepdims=True)
        mean = phi.mean(0) / np.linalg.norm(phi.mean(0))
        total, chosen = np.zeros(phi.shape[1]), []
        for k in range(min(cap, len(phi))):
            v = (phi + total) / (k + 1)
            v = v / (np.linalg.norm(v) if self.published else np.linalg.norm(v, axis=1, keepdims=True))
            order = np.argsort(np.linalg.norm(v - mean, axis=1), kind="stable")
            best = next(i for i in order if i not in chosen)
            chosen.append(best)
            total = total + phi[best]
        return [items[i] for i in chosen]


def fitted(reads, count, random):
    """Slots [count, F] and the mean square of `reads` [n, F]; k-means one read at a time, in NumPy."""
    scale = (reads**2).mean() or 1.0
    heard = np.array([read for read in reads if any(read)]).reshape(-1, reads.shape[1])
    centres = []
    draws = torch.rand(count - 1, dtype=torch.float64, generator=random).tolist()
    for draw in draws:
        weights = [min((float(((read - c) ** 2).sum()) for c in centres), default=1.0) for read in heard]
        if sum(weights) == 0:
            break
        passed, at = weights[0], 0
        while passed <= draw * sum(weights):
            at += 1
            passed += weights[at]
        centres.append(heard[at])
    for _ in range(10 if centres else 0):
        members = [[] for _ in centres]
        for read in heard:
            distances = [((read - c) ** 2).sum() for c in centres]
            members[distances.index(min(distances))].append(read)
        centres = [np.mean(m, 0) if m else c for m, c in zip(members, centres, strict=True)]
    left = count - 1 - len(centres)
    rest = torch.randn(left, reads.shape[1], dtype=torch.float64, generator=random).numpy()
    return np.array([np.zeros(reads.shape[1]), *centres, *(scale**0.5 * rest)]), scale
