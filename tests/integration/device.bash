# What the tests of GPUs share, sourced behind the others: the host as the GPU, a network that is small enough for it, and
# a short training.

# with_gpu PROGRAM [PLUGIN]: finds the plug-in beside itself in $work/bin, and none in $work/bare.
with_gpu() {
    mkdir -p "$work/bin" "$work/bare"
    cp "$FLYWHEEL_BIN/$1" "$work/bin"
    cp "$FLYWHEEL_BIN/$1" "$work/bare"
    cp "$FLYWHEEL_BIN/../lib/lib${2:-plugin_host}.so" "$work/bin/libflywheel_cuda.so"
}

# tiny_network CHANNELS [NODE]: $work/network.json; the node stands before the last layer.
tiny_network() {
    cat >"$work/network.json" <<JSON
{"format": "1.0", "name": "tiny", "input": {"channels": 3, "height": 8, "width": 8},
 "preprocess": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
 "nodes": [{"name": "conv", "op": "conv", "out": $1, "kernel": 3, "pad": 1}, {"name": "norm", "op": "batchnorm"},
           {"name": "act", "op": "relu"}, {"name": "pool", "op": "maxpool", "kernel": 2}, {"name": "flat", "op": "flatten"},
           ${2:+$2, }{"name": "fc", "op": "linear", "out": 10}]}
JSON
}

# short_training CHANNELS: $config, 9 steps; the last batch of an epoch is short, its shards are uneven. Batch norm and
# dropout are in it.
short_training() {
    tiny_network "$1" '{"name": "drop", "op": "dropout", "p": 0.1}'
    config=$work/config.json
    cat >"$config" <<JSON
{"schema": 1,
 "model": {"network": "$work/network.json", "device": "cuda", "precision": "fp32"},
 "data": {"dataset": "synthetic:10:133:8x8x3", "test_limit": 40},
 "train": {"epochs": 3, "batch": 50, "lr": 0.05, "shards": 8, "flip": "random", "crop_pad": 1, "clip_norm": 2,
           "audit_every": 4},
 "store": {"every_steps": 4, "keep_last": 100}}
JSON
}
