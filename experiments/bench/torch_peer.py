"""One measurement of PyTorch in a process of its own; prints one JSON document. Called by `experiments.bench`."""

import argparse
import json
import math
import os
import time

IMPORTING = time.perf_counter()
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from timing import clock, predictions  # noqa: E402
from torch import nn  # noqa: E402

IMPORTED = time.perf_counter()


class Reference(nn.Module):
    """`reference_same`, or `reference` without padding; pooled before the activation: the same, and cheaper."""

    def __init__(self, padding: int):
        super().__init__()
        self.conv0, self.conv1 = nn.Conv2d(1, 32, 3, padding=padding), nn.Conv2d(32, 64, 3, padding=padding)
        self.hidden, self.output = nn.Linear(64 * (49 if padding else 25), 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv0(x), 2))
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        return self.output(F.dropout(F.relu(self.hidden(x.flatten(1))), 0.5, self.training))


class Example(nn.Module):
    """The network of PyTorch's own MNIST example (github.com/pytorch/examples, mnist/main.py)."""

    def __init__(self):
        super().__init__()
        self.conv0, self.conv1 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.hidden, self.output = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv1(F.relu(self.conv0(x))))
        x = F.dropout2d(F.max_pool2d(x, 2), 0.25, self.training)
        return self.output(F.dropout(F.relu(self.hidden(x.flatten(1))), 0.5, self.training))


class Ours(nn.Module):
    """The `default` network of digitjax. Kernels are matrices, the form in which torch.optim.Muon wants them."""

    WIDTHS = (1, 16, 32, 32, 64, 64)

    def __init__(self):
        super().__init__()
        pairs = list(zip(self.WIDTHS, self.WIDTHS[1:]))
        self.kernels = nn.ParameterList([torch.randn(o, 9 * i) * math.sqrt(2 / (9 * i)) for i, o in pairs])
        self.norms = nn.ModuleList([nn.BatchNorm2d(o, momentum=0.1) for _, o in pairs])
        self.output = nn.Linear(64, 10)

    def forward(self, x):
        for layer, (kernel, norm) in enumerate(zip(self.kernels, self.norms)):
            x = F.conv2d(x, kernel.view(len(kernel), -1, 3, 3).contiguous(memory_format=torch.channels_last), padding=1)
            x = F.relu(norm(F.max_pool2d(x, 2) if layer in (0, 2) else x))
        return self.output(x.amax((2, 3)))


class Lines(nn.Module):
    """The line network of digitjax: convolutions over a strip, then layers that see a column and its neighbours."""

    STAGES = ((1, 16, (2, 2)), (16, 32, (2, 2)), (32, 64, None), (64, 96, (2, 1)), (96, 128, None))

    def __init__(self, channels: int):
        super().__init__()
        self.kernels = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b, _ in self.STAGES])
        self.norms = nn.ModuleList([nn.BatchNorm2d(b, momentum=0.05) for _, b, _ in self.STAGES])
        self.columns = nn.Linear(5 * 128, channels, bias=False)
        self.near = nn.ModuleList([nn.Conv1d(channels, channels, 5, padding=2, bias=False) for _ in range(2)])
        self.after = nn.ModuleList([nn.BatchNorm1d(channels, momentum=0.05) for _ in range(3)])
        self.output = nn.Linear(channels, 11)

    def forward(self, x):
        for kernel, norm, (*_, pool) in zip(self.kernels, self.norms, self.STAGES):
            x = kernel(x)
            x = F.relu(norm(F.max_pool2d(x, pool) if pool else x))
        x = self.columns(x.permute(0, 3, 2, 1).flatten(2)).transpose(1, 2)
        x = F.relu(self.after[0](x))
        for near, norm in zip(self.near, self.after[1:]):
            x = x + F.relu(norm(near(x)))
        return self.output(F.dropout(x.transpose(1, 2), 0.1, self.training))


def load(file: str, part: str, mean: float = 0.0, deviation: float = 1.0):
    with np.load(file) as arrays:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    images = torch.from_numpy((images.astype(np.float32) / 255 - mean) / deviation)[:, None]
    return images, torch.from_numpy(labels.astype(np.int64))


def step(args) -> dict:
    images, labels = load(args.data, "train")
    net = Reference(1 if args.network == "reference_same" else 0).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

    def one(index):
        x = images[index].contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = F.cross_entropy(net(x), labels[index])
        loss.backward()
        optimizer.step()
        return loss

    def epoch():
        order = torch.randperm(len(images))[: 9_600 // args.batch * args.batch]
        for index in order.view(-1, args.batch):
            loss = one(index)
        loss.item()

    compile_seconds = clock(lambda: one(torch.arange(args.batch)).item())
    epoch()
    seconds = float(np.median([clock(epoch) for _ in range(3)]))
    return {"images_per_second": 9_600 // args.batch * args.batch / seconds, "compile_seconds": compile_seconds}


def lines(args) -> dict:
    """Lines/s of the line network's training step; what they show and say does not change what a step takes."""
    net, average = (Lines(args.channels).to(memory_format=torch.channels_last).train() for _ in range(2))
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.02, fused=True)
    kept, now = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (average, net))
    strips = torch.rand(args.batch, 1, 40, args.width)
    labels, lengths = torch.randint(10, (args.batch, 12)), torch.full((args.batch,), 5)

    def one():
        x = strips.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            out = net(x)
        shares = F.log_softmax(out.float(), 2).transpose(0, 1)
        frames = torch.full((args.batch,), len(shares))
        F.ctc_loss(shares, labels, frames, lengths, blank=10, reduction="none").mean().backward()
        optimizer.step()
        torch._foreach_lerp_(kept, now, 0.002)

    compile_seconds = clock(one)
    one()
    seconds = float(np.median([clock(one) for _ in range(20)]))
    parameters = sum(p.numel() for p in net.parameters())
    return {"images_per_second": args.batch / seconds, "compile_seconds": compile_seconds, "parameters": parameters}


@torch.no_grad()
def score(net, images, labels) -> float:
    net.eval()
    right = sum(int((net(x).argmax(1) == y).sum()) for x, y in zip(images.split(1000), labels.split(1000)))
    net.train()
    return right / len(labels)


def example(args) -> dict:
    """PyTorch's own example as it is written (Adadelta, batch 64, StepLR 0.7), until validation crosses the mark."""
    torch.manual_seed(args.seed)
    parts = {part: load(args.data, part, 0.1307, 0.3081) for part in ("train", "validation", "test")}
    images, labels = parts["train"]
    started, evaluating = time.perf_counter(), 0.0
    net = Example().train()
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(14):
        for index in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.nll_loss(F.log_softmax(net(images[index]), 1), labels[index]).backward()
            optimizer.step()
        schedule.step()
        trained = time.perf_counter()
        reached = score(net, *parts["validation"])
        if reached >= args.mark:
            break
        evaluating += time.perf_counter() - trained
    cold = time.time() - args.started
    return crossing(args, trained - started - evaluating, cold, reached, score(net, *parts["test"]))


def crossing(args, training: float, cold: float, reached: float, test: float) -> dict:
    return {
        "training_seconds": training,
        "cold_seconds": cold,
        "crossed": reached >= args.mark,
        "validation": reached,
        "test": test,
    }


def recipe(args) -> dict:
    """Our own recipe of a mark: same network, optimizer, schedule, smoothing, average and augmentation."""
    torch.manual_seed(args.seed)
    parts = {part: load(args.data, part) for part in ("train", "validation", "test")}
    images, labels = parts["train"]
    started, total = time.perf_counter(), args.steps
    net, average = (Ours().train() for _ in range(2))
    average.load_state_dict(net.state_dict())
    kernels = list(net.kernels)
    others = [p for p in net.parameters() if p.ndim == 1 or p.shape[0] == 10]
    optimizers = [
        torch.optim.Muon(kernels, lr=args.rate, weight_decay=0.01, momentum=0.9, ns_steps=3),
        torch.optim.Adam(others, lr=0.08 * args.rate, fused=True),
    ]
    warm = round(0.15 * total)

    def rate(step: int) -> float:
        return 0.1 + 0.9 * step / warm if step < warm else 1 - 0.997 * (step - warm) / (total - warm)

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    kept, now = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (average, net))
    count = 0
    while count < total:
        for index in torch.randperm(len(images)).split(64):
            if count == total:
                break
            x = warp(images[index]) if args.augment else images[index]
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
                out = net(x.contiguous(memory_format=torch.channels_last))
            F.cross_entropy(out.float(), labels[index], label_smoothing=0.1).backward()
            for optimizer, schedule in zip(optimizers, schedules):
                optimizer.step()
                schedule.step()
            torch._foreach_lerp_(kept, now, 1 - min(args.ema, (1 + count) / (10 + count)))
            count += 1
    training, cold = time.perf_counter() - started, time.time() - args.started
    return crossing(args, training, cold, score(average, *parts["validation"]), score(average, *parts["test"]))


def rates(args) -> dict:
    """images/s of training with AdamW, warps and the average, on a CUDA card where there is one, as CUDA graphs."""
    cuda = torch.cuda.is_available()
    place = "cuda" if cuda else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    images, labels = (part.to(place) for part in load(args.data, "train"))
    rows = []
    for how in ("CUDA graphs", "CUDA graphs and torch.compile") if cuda else ("eager",):
        net, average = (Ours().to(place).train() for _ in range(2))
        average.load_state_dict(net.state_dict())
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True, capturable=cuda)
        kept, now = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (average, net))
        forward = torch.compile(net) if "compile" in how else net
        index = torch.zeros(args.batch, dtype=torch.long, device=place)

        def one(forward=forward, optimizer=optimizer, index=index, kept=kept, now=now):
            x = warp(images[index]).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(place, torch.bfloat16, enabled=args.dtype == "bf16"):
                out = forward(x)
            F.cross_entropy(out.float(), labels[index], label_smoothing=0.1).backward()
            optimizer.step()
            torch._foreach_lerp_(kept, now, 0.002)

        started = time.perf_counter()
        if cuda:
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):  # as PyTorch asks for before a capture
                for _ in range(5):
                    one()
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                one()
            advance = graph.replay
        else:
            advance = one

        def stretch(advance=advance, index=index) -> None:
            order = torch.randint(len(images), (args.steps, args.batch), device=place)
            for rows in order:
                index.copy_(rows)
                advance()
            if cuda:
                torch.cuda.synchronize()

        stretch()
        first = time.perf_counter() - started
        rate = args.steps * args.batch / float(np.median([clock(stretch) for _ in range(args.rounds)]))
        rows.append({"how": how, "cuda": cuda, "images_per_second": rate, "first_seconds": first})
    return {"rows": rows}


def warp(images):
    """Rotation 9 degrees, zoom 0.09, shear 0.07, shift 1.5, as in the recipe."""
    turn, tall, width, shear, down, right = 2 * torch.rand(6, len(images), device=images.device) - 1
    turn, shear = turn * math.radians(9), 0.07 * shear
    cos, sin = torch.cos(turn), torch.sin(turn)
    tall, width, down, right = 1 + 0.09 * tall, 1 + 0.09 * width, down * 1.5 / 14, right * 1.5 / 14
    rows = torch.stack([cos * width, sin * tall, right, -sin * width + shear * cos, cos * tall, down], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.inference_mode()
def predict(args) -> dict:
    net = Reference(1).eval()
    with np.load(args.weights) as weights:
        for name, layer in {"conv0": "convolution_0", "conv1": "convolution_1"}.items():
            getattr(net, name).weight = nn.Parameter(torch.from_numpy(weights[f"{layer}/kernel"].transpose(3, 2, 0, 1)))
            getattr(net, name).bias = nn.Parameter(torch.from_numpy(weights[f"{layer}/bias"]))
        hidden = weights["hidden/kernel"].reshape(7, 7, 64, 64).transpose(3, 2, 0, 1).reshape(64, -1)
        net.hidden.weight = nn.Parameter(torch.from_numpy(hidden.copy()))
        net.hidden.bias = nn.Parameter(torch.from_numpy(weights["hidden/bias"]))
        net.output.weight = nn.Parameter(torch.from_numpy(weights["output/kernel"].T.copy()))
        net.output.bias = nn.Parameter(torch.from_numpy(weights["output/bias"]))
    net = net.to(memory_format=torch.channels_last)
    with np.load(args.data) as arrays:
        images = arrays["test_images"]

    def run(batch):
        x = torch.from_numpy(batch)[:, None].to(torch.float32) * (1 / 255)
        return net(x.contiguous(memory_format=torch.channels_last)).numpy()

    return predictions(run, images)


TASKS = {f.__name__: f for f in (step, example, recipe, predict, rates, lines)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--network", default="reference_same")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--mark", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--started", type=float, default=time.time())
    parser.add_argument("--weights")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int)
    parser.add_argument("--channels", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--ema", type=float)
    parser.add_argument("--augment", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(json.dumps({"import_seconds": IMPORTED - IMPORTING} | TASKS[args.task](args)))
