#!/usr/bin/env python3
"""Outside truth for `models/torch/src/nets`: the same networks, mixed convolution and losses, stated in plain PyTorch.

    python3 -m venv .venv && .venv/bin/pip install torch==2.11.0 numpy safetensors
    .venv/bin/python tests/reference/networks.py models/torch/tests/golden

Built of PyTorch's own layers, from arXiv 2411.02796 and 2204.07554 and what their code says where they are silent; no
code is shared with the Rust. Names of variables are the Rust's, and so is what no paper says: where an even kernel has
its one position more, how a U-Net takes any size, where the extras go. These are held to be the same here, not to be
right.

Only outputs are stored: weights and inputs follow from a formula, `fill`, so that a variable with another name,
shape or order gives other outputs. Every backbone has its outputs in evaluation, its outputs and the gradient of its
first weight in training, and its running mean afterwards.

The mixed convolution is stated twice: kernels made by Kronecker products and added up, as DASH does it, and as a sum
of separate dilated convolutions; the script fails unless both agree.
"""
import json
import sys
from itertools import product

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_num_threads(1)
CONV = {1: nn.Conv1d, 2: nn.Conv2d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
ACTIVATION = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


def fill(name, shape, scale=1.0, offset=0.0):
    """A wave that starts at a place of its own for each name."""
    start = sum((i + 1) * b for i, b in enumerate(name.encode())) % 1000
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return torch.from_numpy((scale * np.sin(0.37 * i + 0.0013 * i * i % 7.0 + start) + offset).astype(np.float32)).reshape(shape)


def fill_module(module):
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        kind = name.rsplit(".", 1)[-1]
        with torch.no_grad():
            if kind == "running_var":
                tensor.copy_(fill(name, tensor.shape, 0.5, 1.0))
            elif kind == "running_mean" or tensor.dim() == 1:
                offset = 1.0 if kind == "weight" else 0.0
                tensor.copy_(fill(name, tensor.shape, 0.2, offset))
            else:
                tensor.copy_(fill(name, tensor.shape, (2.0 / tensor[0].numel()) ** 0.5))


def same(conv_input, conv):
    """Zeros around, one more behind where they do not come in pairs, as PyTorch's padding='same'."""
    extents = [d * (k - 1) + 1 for k, d in zip(conv.kernel_size, conv.dilation)]
    pads = []
    for extent in reversed(extents):
        pads += [(extent - 1) // 2, extent // 2]
    return conv(F.pad(conv_input, pads))


class Attention(nn.Module):
    def __init__(self, channels, axes):
        super().__init__()
        middle = max(1, channels // 16)
        self.reduce, self.expand = CONV[axes](channels, middle, 1), CONV[axes](middle, channels, 1)

    def forward(self, x):
        means = x.mean(dim=tuple(range(2, x.dim())), keepdim=True)
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(means))))


def blur(x, stride):
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    c = x.shape[1]
    if x.dim() == 3:
        return F.conv1d(F.pad(x, (1, 1), mode="replicate"), taps.expand(c, 1, 3), stride=stride, groups=c)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), torch.outer(taps, taps).expand(c, 1, 3, 3), stride=stride, groups=c)


class Extras:
    def __init__(self, squeeze=False, activation="relu", antialias=False):
        self.squeeze, self.activation, self.antialias = squeeze, activation, antialias

    def attention(self, channels, axes):
        return Attention(channels, axes) if self.squeeze else nn.Identity()


class ResNet1D(nn.Module):
    class Layer(nn.Module):
        def __init__(self, i, o, k, d, extras):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv1d(i, o, k, dilation=d), nn.BatchNorm1d(o), ACTIVATION[extras.activation]()

        def forward(self, x):
            return self.act(self.norm(same(x, self.conv)))

    class Block(nn.Module):
        def __init__(self, i, o, kernels, extras):
            super().__init__()
            self.layers = nn.Sequential(*[ResNet1D.Layer(i if n == 0 else o, o, k, d, extras) for n, (k, d) in enumerate(kernels)])
            self.attention = extras.attention(o, 1)
            self.skip = nn.Sequential()
            if i != o:
                self.skip.add_module("conv", nn.Conv1d(i, o, 1))
                self.skip.add_module("norm", nn.BatchNorm1d(o))

        def forward(self, x):
            out = self.attention(self.layers(x))
            return out + self.skip(x) if len(self.skip) else out

    def __init__(self, bands, outputs, m, kernels, extras=Extras()):
        super().__init__()
        widths = [bands, m, 2 * m, 2 * m]
        self.blocks = nn.Sequential(*[self.Block(widths[b], widths[b + 1], kernels[3 * b : 3 * b + 3], extras) for b in range(3)])
        self.head = nn.Linear(2 * m, outputs)

    def forward(self, x):
        return self.head(self.blocks(x).mean(-1))


class WideResNet(nn.Module):
    class Block(nn.Module):
        def __init__(self, i, o, stride, kernels, extras):
            super().__init__()
            (k1, d1), (k2, d2) = kernels
            self.blurred = extras.antialias and stride > 1
            self.norm1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, k1, dilation=d1)
            self.norm2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, k2, dilation=d2, stride=stride)
            self.attention = extras.attention(o, 2)
            self.act = ACTIVATION[extras.activation]()
            if stride != 1 or i != o:
                self.shortcut = nn.Conv2d(i, o, 1, stride=1 if self.blurred else stride)

        def forward(self, x):
            out = self.act(self.norm2(same(self.act(self.norm1(x)), self.conv1)))
            if self.blurred:
                out = blur(out, 1)
            out = self.attention(same(out, self.conv2))
            if not hasattr(self, "shortcut"):
                return out + x
            return out + self.shortcut(blur(x, 2) if self.blurred else x)

    def __init__(self, bands, outputs, depth, width, kernels, extras=Extras()):
        super().__init__()
        n = (depth - 4) // 6
        kernels = list(kernels)
        k, d = kernels.pop(0)
        self.stem = nn.Conv2d(bands, 16, k, dilation=d)
        i, stages = 16, []
        for stage, o in enumerate((16 * width, 32 * width, 64 * width)):
            blocks = []
            for b in range(n):
                blocks.append(self.Block(i, o, 2 if stage and not b else 1, (kernels.pop(0), kernels.pop(0)), extras))
                i = o
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(i, momentum=0.9)
        self.act = ACTIVATION[extras.activation]()
        self.head = nn.Linear(i, outputs)

    def forward(self, x):
        return self.head(self.act(self.norm(self.stages(same(x, self.stem)))).mean((2, 3)))


class UNet(nn.Module):
    class Double(nn.Module):
        def __init__(self, axes, i, o, kernels, extras):
            super().__init__()
            (k1, d1), (k2, d2) = kernels
            bias = axes == 1
            self.conv1, self.norm1 = CONV[axes](i, o, k1, dilation=d1, bias=bias), NORM[axes](o)
            self.conv2, self.norm2 = CONV[axes](o, o, k2, dilation=d2, bias=bias), NORM[axes](o)
            self.attention, self.act = extras.attention(o, axes), ACTIVATION[extras.activation]()

        def forward(self, x):
            x = self.act(self.norm1(same(x, self.conv1)))
            return self.attention(self.act(self.norm2(same(x, self.conv2))))

    def __init__(self, axes, bands, outputs, widths, kernels, dense=False, extras=Extras()):
        super().__init__()
        kernels = list(kernels)
        pair = lambda: (kernels.pop(0), kernels.pop(0))
        self.axes, self.dense, self.antialias = axes, dense, extras.antialias
        self.down = nn.ModuleList()
        i = bands
        for w in widths:
            self.down.append(self.Double(axes, i, w, pair(), extras))
            i = w
        self.up = nn.ModuleDict()
        for level in reversed(range(len(widths) - 1)):
            w = widths[level]
            if axes == 1:
                o = widths[max(0, level - 1)]
                self.up[str(level)] = self.Double(1, i + w, o, pair(), extras)
            else:
                o = w
                self.up[str(level)] = self.Double(2, 2 * w, o, pair(), extras)
                self.up[str(level)].transpose = nn.ConvTranspose2d(i, w, 2, stride=2)
            i = o
        if axes == 2:
            self.head = nn.Sequential()
            self.head.add_module("expand", nn.Conv2d(i, 4 * i, 1))
            self.head.add_module("norm", nn.BatchNorm2d(4 * i))
            self.head.add_module("act", ACTIVATION[extras.activation]())
            self.head.add_module("project", nn.Conv2d(4 * i, outputs, 1))
        else:
            self.head = nn.Conv1d(i, outputs, 1) if dense else nn.Linear(i, outputs)

    def pool(self, x):
        pool = F.max_pool1d if self.axes == 1 else F.max_pool2d
        return blur(pool(x, 2, 1), 2) if self.antialias else pool(x, 2)

    def forward(self, x):
        size = x.shape[2:]
        stride = 2 ** len(self.up)
        pads = []
        for s in reversed(size):
            pads += [0, -s % stride]
        x, levels = F.pad(x, pads), []
        for n, down in enumerate(self.down):
            x = down(self.pool(x) if n else x)
            levels.append(x)
        levels.pop()
        for up in self.up.values():
            if self.axes == 1:
                x = F.interpolate(x, scale_factor=2, mode="linear", align_corners=True)
            else:
                x = up.transpose(x)
            x = up(torch.cat((levels.pop(), x), 1))
        x = x[(...,) + tuple(slice(0, s) for s in size)]
        if self.axes == 1:
            return self.head(x) if self.dense else self.head(x.mean(-1))
        return self.head(x) if self.dense else self.head(x).mean((2, 3))


def mixed(weights, kernels, coefficients, axes):
    """DASH's own way: Kronecker products with a unit vector, zeros around, a sum."""
    s = max(d * (k - 1) + 1 for k, d in kernels)
    total = 0
    for (k, d), weight, c in zip(kernels, weights, coefficients):
        unit = torch.zeros((1, 1) + (d,) * axes)
        unit[(0, 0) + (0,) * axes] = 1
        e = d * (k - 1) + 1
        dilated = torch.kron(weight, unit)[(slice(None),) * 2 + (slice(0, e),) * axes]
        before = (s - 1) // 2 - (e - 1) // 2  # (s - e) // 2 where both are odd, as all of the paper's are
        total = total + c * F.pad(dilated, [before, s - e - before] * axes)
    return total


def correlate(x, weight, stride, dilation=1, groups=1):
    axes = x.dim() - 2
    e = dilation * (weight.shape[-1] - 1) + 1
    x = F.pad(x, [(e - 1) // 2, e // 2] * axes)
    return (F.conv1d if axes == 1 else F.conv2d)(x, weight, stride=stride, dilation=dilation, groups=groups)


def mixed_case(out, name, axes, sizes, dilations, inputs, outputs, size, stride, depthwise):
    kernels = list(product(sizes, dilations))
    rows = 1 if depthwise else inputs
    weights = [fill(f"{k}/{d}", (outputs, rows) + (k,) * axes, 0.1).requires_grad_() for k, d in kernels]
    alpha = fill("alpha", (len(kernels),)).requires_grad_()
    noise = fill("noise", (len(kernels),))
    coefficients = torch.softmax(torch.log_softmax(alpha, 0) + noise, 0)
    x = fill("input", (2, inputs) + (size,) * axes).requires_grad_()
    groups = inputs if depthwise else 1
    kernel = mixed(weights, kernels, coefficients, axes)
    y = correlate(x, kernel, stride, groups=groups)
    apart = sum(c * correlate(x, w, stride, d, groups) for (k, d), w, c in zip(kernels, weights, coefficients))
    assert torch.allclose(y, apart, atol=1e-5), (name, (y - apart).abs().max())
    (y * fill("upstream", y.shape)).sum().backward()
    out[f"{name}/kernel_sum"] = kernel.detach().sum((0, 1))
    out[f"{name}/output"] = y.detach()
    out[f"{name}/input_gradient"] = x.grad
    out[f"{name}/choice_gradient"] = alpha.grad
    for (k, d), w in zip(kernels, weights):
        out[f"{name}/weight_gradient/{k}/{d}"] = w.grad[0]


def backbone_case(out, name, net, shape):
    fill_module(net)
    x = fill("input", shape)
    net.eval()
    with torch.no_grad():
        out[f"{name}/eval"] = net(x)
    net.train()
    y = net(x)
    out[f"{name}/train"] = y.detach()
    (y * fill("upstream", y.shape)).sum().backward()
    weights = [(n, p) for n, p in net.named_parameters() if "conv1.weight" in n or "layers.0.conv.weight" in n]
    out[f"{name}/gradient"] = weights[0][1].grad[0]
    norms = [(n, b) for n, b in net.named_buffers() if n.endswith("running_mean")]
    out[f"{name}/running_mean"] = norms[0][1].clone()


def backbones(out):
    mix = lambda n, pairs: [pairs[i % len(pairs)] for i in range(n)]
    odd, even = [(3, 1), (5, 3), (1, 1), (7, 2)], [(8, 1), (5, 2), (4, 3), (2, 2)]
    all_extras = Extras(True, "silu", True)
    backbone_case(out, "resnet", ResNet1D(5, 3, 4, mix(9, odd)), (3, 5, 29))
    backbone_case(out, "resnet_even", ResNet1D(2, 2, 16, mix(9, even), Extras(True, "gelu")), (2, 2, 17))
    backbone_case(out, "wide_resnet", WideResNet(4, 3, 16, 1, mix(13, odd)), (2, 4, 9, 12))
    backbone_case(out, "wide_resnet_extras", WideResNet(1, 2, 10, 2, mix(7, even), all_extras), (2, 1, 8, 7))
    backbone_case(out, "unet_sequence", UNet(1, 5, 3, [4, 6, 8, 8], mix(14, odd)), (2, 5, 21))
    backbone_case(out, "unet_sequence_dense", UNet(1, 1, 3, [4, 6], mix(6, even), True, Extras(True, "gelu", True)), (2, 1, 11))
    backbone_case(out, "unet_tiles", UNet(2, 3, 4, [4, 6, 8], mix(10, odd)), (2, 3, 8, 12))
    backbone_case(out, "unet_tiles_dense", UNet(2, 2, 3, [4, 6, 8], mix(10, even), True, all_extras), (2, 2, 5, 9))


def pieces(out):
    for axes, size in ((1, (9,)), (2, (5, 6))):
        x = fill("input", (2, 3) + size)
        for k, d, stride in product((1, 2, 3, 4), (1, 2, 3), (1, 2)):
            conv = CONV[axes](3, 2, k, dilation=d, stride=stride)
            fill_module(conv)
            out[f"convolution/{axes}/{k}/{d}/{stride}"] = same(x, conv).detach()
        for stride in (1, 2):
            out[f"blur/{axes}/{stride}"] = blur(x, stride)
        for name, act in ACTIVATION.items():
            out[f"activation/{axes}/{name}"] = act()(x)
        attention = Attention(32, axes)
        fill_module(attention)
        out[f"attention/{axes}"] = attention(fill("input", (2, 32) + size)).detach()
        norm = NORM[axes](3)
        fill_module(norm)
        out[f"norm/{axes}/eval"] = norm.eval()(x).detach()
        out[f"norm/{axes}/train"] = norm.train()(x).detach()
        out[f"norm/{axes}/running_var"] = norm.running_var.clone()
    for size in (1, 2, 7):
        out[f"double_length/{size}"] = F.interpolate(fill("input", (2, 3, size)), scale_factor=2, mode="linear", align_corners=True)


def losses(out):
    z = fill("outputs", (6, 4), 2.0)
    hard = torch.tensor([0, 1, 2, 3, 1, 0])
    soft = torch.softmax(fill("targets", (6, 4), 3.0), 1)
    weights = torch.tensor([0.5, 1.0, 2.0, 1.5])
    for smoothing, weighted in product((0.0, 0.1), (False, True)):
        w = weights if weighted else None
        case = f"{smoothing}/{'weighted' if weighted else 'plain'}"
        ce = nn.CrossEntropyLoss(weight=w, label_smoothing=smoothing)
        out[f"loss/hard/{case}"] = ce(z, hard)
        out[f"loss/soft/{case}"] = ce(z, soft)
        labels = (soft > 0.3).float()
        out[f"loss/multilabel/{case}"] = nn.MultiLabelSoftMarginLoss(weight=w)(z, labels * (1 - smoothing) + smoothing / 2)
        pixels = fill("pixels", (2, 4, 3, 5), 2.0)
        classes = (torch.arange(30) * 7 % 5).reshape(2, 3, 5)
        classes[classes == 4] = 255
        segment = nn.CrossEntropyLoss(weight=w, label_smoothing=smoothing, ignore_index=255)(pixels, classes)
        out[f"loss/segment/{case}"] = segment
        known = classes != 255
        p, t = torch.softmax(pixels, 1).movedim(1, -1)[known], F.one_hot(classes[known], 4).float()
        dice = ((2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)).mean()
        out[f"loss/segment_dice/{case}"] = segment + 0.5 * (1 - dice)
    out["loss/regress"] = nn.MSELoss()(z, soft)


def gradient_rule(out):
    kernels = list(product((3, 5), (1, 3)))
    field = torch.tensor([float(d * (k - 1) + 1) for k, d in kernels])
    g = fill("gradient", (4,))
    out["gradient_rule"] = g / (100 * (g.norm() + 1e-8)) + 1e-5 * field


def parameter_counts():
    """PAPER's table: 5 bands and 2 classes of sequences (genomics), 13 bands and 10 classes of tiles (EuroSAT)."""
    count = lambda net: sum(p.numel() for p in net.parameters())
    with torch.device("meta"):
        table = {}
        for k in (3, 5, 7, 9, 11):
            row = {
                "resnet": count(ResNet1D(5, 2, 128, [(k, 1)] * 9)),
                "unet_sequence": count(UNet(1, 5, 2, [64, 128, 256, 512, 512], [(k, 1)] * 18)),
            }
            if k < 11:
                row["wide_resnet_16_4"] = count(WideResNet(13, 10, 16, 4, [(k, 1)] * 13))
                row["wide_resnet_22_8"] = count(WideResNet(13, 10, 22, 8, [(k, 1)] * 19))
                row["unet_tiles"] = count(UNet(2, 13, 10, [64, 128, 256, 512, 1024], [(k, 1)] * 18))
            table[str(k)] = row
    return table


def main(folder):
    out = {}
    pieces(out)
    backbones(out)
    losses(out)
    gradient_rule(out)
    mixed_case(out, "mixed_sequence_full", 1, (3, 5), (1, 2, 3), 3, 4, 12, 1, False)
    mixed_case(out, "mixed_sequence_depthwise", 1, (3, 7), (1, 3), 4, 4, 25, 1, True)
    mixed_case(out, "mixed_sequence_even", 1, (1, 2, 4, 5), (1, 2, 3), 2, 3, 16, 1, False)
    mixed_case(out, "mixed_tiles_full", 2, (3, 5), (1, 3), 3, 2, 9, 2, False)
    mixed_case(out, "mixed_tiles_depthwise", 2, (3, 5), (1, 2), 3, 3, 8, 1, True)
    mixed_case(out, "mixed_tiles_even", 2, (2, 3, 4), (1, 2), 2, 2, 7, 2, False)
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, f"{folder}/networks.safetensors")
    with open(f"{folder}/parameters.json", "w") as file:
        json.dump(parameter_counts(), file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
