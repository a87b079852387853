#!/usr/bin/python3
"""vs_pytorch.py [options] CONFIG: the same training step here and in PyTorch, on the same machine, in the same run.

The peer is built from the same model file, has the config's optimiser and gets what helps it: channels_last, generated
images that are in memory already, no augmentation, no metrics. On CPUs it is either one process that uses all cores, or
two of one core each with DistributedDataParallel over gloo. On a GPU its weights are fp16 too (batch norms' are fp32),
torch.compile has fused it, with --compile max-autotune-no-cudagraphs after timing its kernels' variants, and the whole
step, update included, is one CUDA graph, which is more than the compiler's own graphs hold. Ours is `flywheel-train bench train
CONFIG` under mpirun: real data, augmentation, fp32 master weights, the exact reduction. Rounds alternate between the two,
so that a noisy neighbour is shared; the figures are medians over rounds of the median step. Needs Debian's
python3-torch, or PyTorch 2 with CUDA. The last line is one JSON object.
"""
import argparse
import fnmatch
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANKS = {"cpu": 2, "cuda": 1}
RANK = int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))


def layer(node, channels):
    """The PyTorch module of a node, and its number of output channels."""
    import torch

    nn = torch.nn
    kind, kernel = node["op"], node.get("kernel", 0)
    stride, pad = node.get("stride", 1), node.get("pad", 0)
    if kind == "conv":
        conv = nn.Conv2d(channels, node["out"], kernel, stride, pad, bias=node.get("bias", True))
        conv.weight.requires_grad = not node.get("freeze_weight", False)
        return conv, node["out"]
    if kind == "batchnorm":
        norm = nn.BatchNorm2d(channels, eps=node.get("eps", 1e-5), momentum=node.get("momentum", 0.1))
        norm.weight.requires_grad = not node.get("freeze_weight", False)
        return norm, channels
    if kind == "maxpool":
        return nn.MaxPool2d(kernel, node.get("stride", kernel), pad), channels
    if kind == "avgpool":
        return (nn.AvgPool2d(kernel, node.get("stride", kernel), pad) if kernel else nn.AdaptiveAvgPool2d(1)), channels
    if kind == "linear":
        return nn.LazyLinear(node["out"], bias=node.get("bias", True)), node["out"]
    simple = {"relu": nn.ReLU, "gelu": nn.GELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "flatten": nn.Flatten}
    if kind in simple:
        return simple[kind](), channels
    if kind in ("add", "scale"):
        return nn.Identity(), channels
    sys.exit(f"vs_pytorch: node {node['name']}: no peer for op '{kind}'")


def network(spec):
    import torch

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps, layers, channels, last = [], [], {"input": spec["input"]["channels"]}, "input"
            for node in spec["nodes"]:
                inputs = node.get("in", last)
                inputs = [inputs] if isinstance(inputs, str) else inputs
                module, channels[node["name"]] = layer(node, channels[inputs[0]])
                layers.append(module)
                self.steps.append((node["name"], node["op"], inputs, node.get("factor", 1.0)))
                last = node["name"]
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, x):
            values = {"input": x}
            for (name, op, inputs, factor), module in zip(self.steps, self.layers):
                if op == "add":
                    values[name] = values[inputs[0]] + values[inputs[1]]
                elif op == "scale":
                    values[name] = values[inputs[0]] * factor
                else:
                    values[name] = module(values[inputs[0]])
            return values[name]

    return Graph()


def direction(u, dtype):
    """An update made orthogonal, as model/muon.h says."""
    x = u.flatten(1).to(dtype)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if turned else x).view(u.shape)


class Muon:
    """model/muon.h's steps, with what is used here of torch.optim's classes. dtype: of the products, for which its authors
    take bf16."""

    def __init__(self, weights, lr, momentum, nesterov, dtype, compiled):
        import torch

        self.weights, self.lr, self.momentum, self.nesterov, self.dtype = weights, lr, momentum, nesterov, dtype
        self.buffers = [torch.zeros_like(w) for w in weights]
        self.direction = torch.compile(direction, dynamic=False) if compiled else direction

    def zero_grad(self, set_to_none):
        del set_to_none
        for w in self.weights:
            w.grad = None

    def step(self):
        import torch

        with torch.no_grad():
            for w, b in zip(self.weights, self.buffers):
                b.mul_(self.momentum).add_(w.grad)
                u = w.grad.add(b, alpha=self.momentum) if self.nesterov else b
                w.mul_(len(w) ** 0.5 / w.norm())
                w.sub_(self.direction(u, self.dtype), alpha=self.lr)


def is_muons(name, groups):
    """Of the first group that matches, as trainer/optimizer.h says."""
    return next((g.get("muon", False) for g in groups if fnmatch.fnmatchcase(name, g["match"])), False)


def optimizers_of(net, names, train, device, precision, lr):
    """The config's optimiser. Which rates and decays its groups have does not change what a step costs."""
    import torch

    if train["optimizer"] not in ("sgd", "muon"):
        sys.exit(f"vs_pytorch: no peer for train.optimizer '{train['optimizer']}'")
    muons, others = [], []
    for key, p in net.named_parameters():
        key = key.split("layers.", 1)[1]  # 3.weight
        number, tensor = key.split(".")
        muon = train["optimizer"] == "muon" and is_muons(f"{names[int(number)]}.{tensor}", train["groups"])
        if p.requires_grad:
            (muons if muon else others).append(p)
    fused = {"fused": True} if device == "cuda" else {}
    sgd = torch.optim.SGD(others, lr=lr, momentum=train["momentum"], nesterov=train["nesterov"], **fused)
    if not muons:
        return [sgd]
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    return [sgd, Muon(muons, lr, train["momentum"], train["nesterov"], dtype, compiled=device == "cuda")]


def seconds_on_cpu(step, count):
    """Of each of count steps."""
    seconds = []
    for _ in range(count):
        start = time.monotonic()
        step()
        seconds.append(time.monotonic() - start)
    return seconds


def seconds_on_gpu(step, optimizers, count):
    """Of each of count replays of the step's graph, between events on the GPU."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiles, chooses cuDNN's engines and makes the optimiser's state
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)  # so that gradients live in the graph's memory, and replays write, not add
    with torch.cuda.graph(graph):
        step()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        graph.replay()
        mark.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) * 1e-3 for before, after in zip(marks, marks[1:])]


def peer(args):
    """One measurement of PyTorch, in a process of its own: prints images/s of the median step, as JSON."""
    import torch

    work = json.loads(args.peer)
    device, precision = work["device"], work["precision"]
    torch.manual_seed(1)
    torch.set_num_threads(work["threads"])
    torch.backends.cudnn.benchmark = True
    batch, shape = work["batch"] // work["processes"], work["spec"]["input"]
    x = torch.randn(batch, shape["channels"], shape["height"], shape["width"])
    net = network(work["spec"])
    with torch.no_grad():
        classes = net(x[:2]).shape[1]
    x = x.to(device, memory_format=torch.channels_last)
    net = net.to(device, memory_format=torch.channels_last)
    if work["processes"] > 1:
        torch.distributed.init_process_group("gloo", init_method="file://" + work["rendezvous"],
                                             rank=RANK, world_size=work["processes"])
        net = torch.nn.parallel.DistributedDataParallel(net)
    y = torch.randint(classes, (batch,), device=device)
    train = work["train"]
    forward, lr, reduction = net, 1e-4, train["reduction"]
    if device == "cuda":
        # The same work, but numbers stay numbers without a loss scale: a GPU is faster on nothing but NaN.
        lr, reduction = 0.0, "mean"
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        x, net = x.to(dtype), net.to(dtype)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.float()
        forward = torch.compile(net, mode=work["compile"], dynamic=False)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=train["label_smoothing"], reduction=reduction)
    optimizers = optimizers_of(net, [node["name"] for node in work["spec"]["nodes"]], train, device, precision, lr)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=device == "cpu" and precision == "bf16"):
            loss = loss_of(forward(x), y)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    count = work["warmup"] + work["steps"]
    seconds = seconds_on_gpu(step, optimizers, count) if device == "cuda" else seconds_on_cpu(step, count)
    if RANK == 0:
        rate = work["batch"] / statistics.median(seconds[work["warmup"]:])
        print(json.dumps({"images_per_s": rate, "pytorch": torch.__version__}))


def last_line(command, processes, threads, **more):
    """Runs the command, under mpirun where it takes several processes, and gives its last line, a JSON object."""
    program = command[0]
    if processes > 1:
        command = ["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none", "-np", str(processes), *command]
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS=str(threads),
               **more)
    done = subprocess.run(command, env=env, timeout=900, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stderr}\nvs_pytorch: exit {done.returncode} of {program}: {(done.stderr.splitlines() or [''])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_peer(work, processes, libraries):
    own = {} if libraries is None else {"LD_LIBRARY_PATH": libraries}
    with tempfile.TemporaryDirectory() as scratch:
        work = dict(work, processes=processes, threads=RANKS["cpu"] // processes, rendezvous=scratch + "/meet")
        return last_line([sys.executable, __file__, "--peer", json.dumps(work), "-"], processes, work["threads"], **own)


def overrides(args):
    own = {"cpu": ["train.threads=1"], "cuda": ["model.device=cuda", "model.precision=fp16"]}[args.device]
    return [word for setting in own + args.set for word in ("--set", setting)]


def measure_ours(args, binary):
    command = [binary, "bench", "train", args.config, "--steps", str(args.steps), "--warmup", str(args.warmup)]
    return last_line(command + overrides(args), RANKS[args.device], 1)


def resolved(args, binary):
    """The config as the trainer sees it, and the network that it names. With --peer-only the trainer may not know the
    device yet: all else is asked."""
    settings = [word for setting in args.set for word in ("--set", setting)] if args.peer_only else overrides(args)
    command = [binary, "train", "--check", args.config, *settings]
    config = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    path = config["model"]["network"]
    if path.startswith("zoo:"):
        path = ROOT / "model/zoo" / (path[4:] + ".json")
    return config, json.loads(pathlib.Path(path).read_text())


def measure(args, binary, config, spec):
    """One round: images/s by name, and what was measured."""
    rates = {}
    work = {"spec": spec, "train": config["train"], "steps": args.steps, "warmup": args.warmup, "device": args.device,
            "compile": args.compile,
            "batch": config["train"]["batch"], "precision": "fp16" if args.device == "cuda" else "fp32"}
    if not args.peer_only:
        ours = measure_ours(args, binary)
        rates["flywheel"] = ours["images_per_s"]
        work.update(batch=ours["batch"], precision=ours["precision"])
    alone = measure_peer(work, 1, args.peer_libraries)
    rates["pytorch"] = alone["images_per_s"]
    if args.device == "cpu":
        rates["pytorch ddp"] = measure_peer(work, RANKS["cpu"], args.peer_libraries)["images_per_s"]
    return rates, dict(work, pytorch=alone["pytorch"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path, help="flywheel's programs")
    parser.add_argument("--device", default="cpu", choices=sorted(RANKS))
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--steps", default=3, type=int, help="steps that count, per round")
    parser.add_argument("--warmup", default=1, type=int)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="overrides the config")
    parser.add_argument("--compile", default="default", metavar="MODE", help="torch.compile's, on a GPU")
    parser.add_argument("--peer-only", action="store_true", help="measure PyTorch alone")
    parser.add_argument("--peer-libraries", metavar="FOLDERS", help="PyTorch's LD_LIBRARY_PATH, where ours is not for it")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args)

    binary = args.bin / "flywheel-train"
    config, spec = resolved(args, binary)
    rounds = []
    for number in range(args.rounds):
        rates, work = measure(args, binary, config, spec)
        rounds.append(rates)
        print(f"round {number + 1}: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()), flush=True)

    middle = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    print(f"\n{spec['name']}, {args.device}, {work['precision']}, batch {work['batch']}, images/s of the training step "
          f"(median of {args.rounds} rounds of {args.steps} steps; PyTorch {work['pytorch']})")
    best = max(rate for name, rate in middle.items() if name != "flywheel")
    for name, rate in middle.items():
        seen = [r[name] for r in rounds]
        ratio = f"   x {middle['flywheel'] / rate:.2f}" if "flywheel" in middle else ""
        print(f"{name:<12} {rate:9.0f}   ({min(seen):.0f} … {max(seen):.0f}){ratio}")
    ratio = {spec["name"]: round(middle["flywheel"] / best, 3)} if "flywheel" in middle else {}
    print(json.dumps({"bench": "vs_pytorch", "network": spec["name"], "device": args.device, "ratio": ratio,
                      "optimizer": config["train"]["optimizer"],
                      "precision": work["precision"], "batch": work["batch"], "pytorch": work["pytorch"],
                      "images_per_s": {name: round(rate, 1) for name, rate in middle.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
