#!/usr/bin/python3
"""vs_pytorch.py [options] CONFIG: the same training step here and in PyTorch, on the same machine, in the same run.

The peer is built from the same model file and gets what helps it: channels_last, generated images that are in memory
already, no augmentation, no metrics; either one process that uses all cores, or two of one core each with
DistributedDataParallel over gloo. Ours is `flywheel-train bench train CONFIG` under mpirun: real data, augmentation,
the exact reduction. Rounds alternate between the two, so that a noisy neighbour is shared; the figures are medians over
rounds of the median step. Needs Debian's python3-torch. The last line is one JSON object.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANKS = 2


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


def peer(args):
    """One measurement of PyTorch, in a process of its own: prints images/s of the median step."""
    import torch

    work = json.loads(args.peer)
    torch.manual_seed(1)
    torch.set_num_threads(work["threads"])
    batch, shape = work["batch"] // work["processes"], work["spec"]["input"]
    x = torch.randn(batch, shape["channels"], shape["height"], shape["width"]).to(memory_format=torch.channels_last)
    net = network(work["spec"])
    with torch.no_grad():
        classes = net(x[:2]).shape[1]
    net = net.to(memory_format=torch.channels_last)
    if work["processes"] > 1:
        torch.distributed.init_process_group("gloo", init_method="file://" + work["rendezvous"],
                                             rank=int(os.environ["OMPI_COMM_WORLD_RANK"]), world_size=work["processes"])
        net = torch.nn.parallel.DistributedDataParallel(net)
    y = torch.randint(classes, (batch,))
    train = work["train"]
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=train["label_smoothing"], reduction=train["reduction"])
    wanted = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(wanted, lr=1e-4, momentum=train["momentum"] or 0.9, nesterov=train["nesterov"])
    seconds = []
    for _ in range(work["warmup"] + work["steps"]):
        start = time.monotonic()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=work["precision"] == "bf16"):
            loss = loss_of(net(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.monotonic() - start)
    if os.environ["OMPI_COMM_WORLD_RANK"] == "0":
        print(work["batch"] / statistics.median(seconds[work["warmup"]:]))


def last_line(command, processes, threads):
    """Runs the command under mpirun, and gives its last line."""
    command = ["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none", "-np", str(processes), *command]
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS=str(threads))
    done = subprocess.run(command, env=env, timeout=900, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"vs_pytorch: exit {done.returncode} of {command[7]}\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def measure_peer(work, processes):
    with tempfile.TemporaryDirectory() as scratch:
        work = dict(work, processes=processes, threads=RANKS // processes, rendezvous=scratch + "/meet")
        return float(last_line([sys.executable, __file__, "--peer", json.dumps(work), "-"], processes, work["threads"]))


def measure_ours(args, binary):
    command = [binary, "bench", "train", args.config, "--steps", str(args.steps), "--warmup", str(args.warmup),
               "--set", "train.threads=1"]
    for override in args.set:
        command += ["--set", override]
    return json.loads(last_line(command, RANKS, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path, help="flywheel's programs")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--steps", default=3, type=int, help="steps that count, per round")
    parser.add_argument("--warmup", default=1, type=int)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="overrides the config")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args)

    binary = args.bin / "flywheel-train"
    check = [binary, "train", "--check", args.config]
    for override in args.set:
        check += ["--set", override]
    config = json.loads(subprocess.run(check, check=True, capture_output=True, text=True).stdout)
    path = config["model"]["network"]
    if path.startswith("zoo:"):
        path = ROOT / "model/zoo" / (path[4:] + ".json")
    spec = json.loads(pathlib.Path(path).read_text())
    rates = {"flywheel": [], "pytorch": [], "pytorch ddp": []}
    for number in range(args.rounds):
        ours = measure_ours(args, binary)
        work = {"spec": spec, "train": config["train"], "batch": ours["batch"], "precision": ours["precision"],
                "steps": args.steps, "warmup": args.warmup}
        for name, rate in (("flywheel", ours["images_per_s"]), ("pytorch", measure_peer(work, 1)),
                           ("pytorch ddp", measure_peer(work, RANKS))):
            rates[name].append(rate)
        print(f"round {number + 1}: " + ", ".join(f"{name} {r[-1]:.0f}" for name, r in rates.items()), flush=True)

    import torch

    middle = {name: statistics.median(r) for name, r in rates.items()}
    print(f"\n{spec['name']}, {ours['precision']}, batch {ours['batch']}, images/s of the training step "
          f"(median of {args.rounds} rounds of {args.steps} steps; PyTorch {torch.__version__})")
    for name, r in rates.items():
        ratio = middle["flywheel"] / middle[name]
        print(f"{name:<12} {middle[name]:9.0f}   ({min(r):.0f} … {max(r):.0f})   x {ratio:.2f}")
    best = max(middle["pytorch"], middle["pytorch ddp"])
    print(json.dumps({"bench": "vs_pytorch", "ratio": {spec["name"]: round(middle["flywheel"] / best, 3)},
                      "precision": ours["precision"], "batch": ours["batch"], "pytorch": torch.__version__,
                      "images_per_s": {name: round(rate, 1) for name, rate in middle.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
