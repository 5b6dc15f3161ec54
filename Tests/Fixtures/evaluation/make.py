"""Makes expected.safetensors and expected.json: what the published Python tools make of pictures and
weights that are given by a formula, so that neither need be stored.

Run in this folder with:
    pip install torch==2.13.0 torchvision==0.28.0 numpy scipy pillow tqdm safetensors
    pip install --no-deps torch-fidelity==0.4.0 pytorch-fid==0.3.0 efficientnet-lite-pytorch==0.1.0
    python make.py

Tests/FeatureNetworksTests/Support and Tests/MVAREvaluationTests/Support have the same formulas.
`python make.py weights FOLDER` writes the random Inception in the published file's format and name, and
the pictures as .npz and as two folders, to try `mvar evaluate` and the tools by hand.
"""

import json, math, os, sys, tempfile
import numpy as np
import torch

REAL, GENERATED, SIDE = 16, 12, 64
PERIOD = 1_000_003


# Formulas ----------------------------------------------------------------------------------------------------


def split_mix(indices):
    """Vigna's SplitMix64 with seed 0, number by number."""
    with np.errstate(over="ignore"):
        x = (indices + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


WORDS = split_mix(np.arange(PERIOD, dtype=np.uint64))
TABLE = (WORDS >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def fnv(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def weight(name, shape):
    """Numbers of the table from a place that the name tells; scaled so that activations stay near 1."""
    count = math.prod(shape)
    numbers = TABLE[(fnv(name) % PERIOD + np.arange(count)) % PERIOD].reshape(shape)
    if len(shape) == 2:
        scale, centre = 8 / math.sqrt(shape[1]), 0
    elif len(shape) > 2:
        scale, centre = math.sqrt(6 / math.prod(shape[1:])), 0
    elif name.endswith("running_var"):
        scale, centre = 0.5, 1
    elif name.endswith("weight"):
        scale, centre = 0.2, 1
    else:
        scale, centre = 0.2, 0
    return torch.from_numpy(numbers * np.float32(scale) + np.float32(centre))


def fill(module):
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.dtype == torch.float32:
            state[name] = weight(name, tuple(tensor.shape))
    return state


def triangle(x):
    """A wave of whole numbers with period 512 and values 0 … 255."""
    return np.abs(x % 512 - 256) * 255 // 256


def picture(index):
    """[SIDE, SIDE, 3] uint8: waves of two directions, noise, and a contrast of its own."""
    y, x, c = np.meshgrid(np.arange(SIDE), np.arange(SIDE), np.arange(3), indexing="ij")
    waves = triangle(x * (1 + index % 7) * 16 + y * (index % 5) * 24 + c * (index % 3) * 90)
    noise = (WORDS[(index * 7919 + (y * SIDE + x) * 3 + c) % PERIOD] >> np.uint64(56)).astype(np.int64)
    mixed = (waves * (16 - index % 8) + noise * (index % 8)) // 16
    return np.clip(128 + (mixed - 128) * (4 + index * 5 % 13) // 12, 0, 255).astype(np.uint8)


def pictures(first, count):
    return np.stack([picture(first + i) for i in range(count)])


# Tools -------------------------------------------------------------------------------------------------------


def allow_foreign_torchvision():
    """Beside a CPU's PyTorch, a torchvision that was built for GPUs lacks its operators; none is used."""
    register = torch.library.register_fake
    torch.library.register_fake = lambda *_, **__: lambda function: function
    import torchvision

    torch.library.register_fake = register


def fidelity(folder):
    """torch-fidelity's extractor with weights by formula, from a file in the published one's format."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    class Empty(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state, **_):
            return super().load_state_dict(fill(self))

    path = os.path.join(folder, "pt_inception-2015-12-05-6726825d.pth")
    torch.save({}, path)
    names = ["2048", "logits_unbiased"]
    extractor = Empty("random", names, feature_extractor_weights_path=path)
    torch.save(extractor.state_dict(), path, _use_new_zipfile_serialization=False)
    return extractor, path


def fidelity_features(extractor, batch):
    spatial = []
    handle = extractor.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, out: spatial.append(out))
    with torch.no_grad():
        pooled, logits = extractor(torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous())
    handle.remove()
    return pooled, spatial[0][:, :7].permute(0, 2, 3, 1).flatten(1).contiguous(), logits


def pytorch_fid(path):
    from pytorch_fid import inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(path)
    return inception.InceptionV3([3]).eval()


def efficient_net():
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(fill(network))
    return network.eval()


def efficient_net_outputs(network, batch):
    """Taps, features and logits for pictures of 224 by 224 pixels."""
    x = (torch.from_numpy(batch).permute(0, 3, 1, 2).float() - 127) / 128
    taps = []
    handles = [
        module.register_forward_hook(lambda _, __, out: taps.append(out.mean((2, 3))))
        for module in [network._blocks[i] for i in (0, 2, 4, 10, 15)]
    ]
    with torch.no_grad():
        features = network.extract_features(x).mean((2, 3))
        logits = network._fc(features)
    for handle in handles:
        handle.remove()
    return {"features": features, "logits": logits, **{f"tap.{i}": tap for i, tap in enumerate(taps)}}


def enlarged(batch):
    """To 224 by 224: pixels repeated, then cut."""
    return np.ascontiguousarray(batch.repeat(4, 1).repeat(4, 2)[:, :224, :224])


def main():
    from safetensors.torch import save_file
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric
    from pytorch_fid.fid_score import calculate_frechet_distance

    real, generated = pictures(0, REAL), pictures(100, GENERATED)
    with tempfile.TemporaryDirectory() as folder:
        extractor, path = fidelity(folder)
        reference = pytorch_fid(path)
        a, b = fidelity_features(extractor, real), fidelity_features(extractor, generated)
        with torch.no_grad():
            p = reference(torch.from_numpy(real[:3]).permute(0, 3, 1, 2) / 255.0)[0][:, :, 0, 0]

    def statistics(features):
        return fid_features_to_statistics(features.double())

    def fid(x, y):
        x, y = statistics(x), statistics(y)
        return fid_statistics_to_metric(x, y, False)["frechet_inception_distance"]

    def fid_by_pytorch_fid(x, y):
        x, y = statistics(x), statistics(y)
        return calculate_frechet_distance(x["mu"], x["sigma"], y["mu"], y["sigma"])

    def score(logits, splits):
        result = isc_features_to_metric(logits, splits=splits, shuffle=False)
        return {"mean": result["inception_score_mean"], "std": result["inception_score_std"]}

    def prc(neighbours):
        # Since version 0.4 the generated features come first.
        options = dict(prc_batch_size=10000, save_cpu_ram=True, verbose=False)
        return prc_features_to_metric(b[0], a[0], prc_neighborhood=neighbours, **options)

    kid = kid_features_to_metric(
        a[0][:GENERATED].double(), b[0].double(), kid_subsets=1, kid_subset_size=GENERATED,
        kid_degree=3, kid_gamma=None, kid_coef0=1, rng_seed=0, verbose=False)
    expected = {
        "fid": fid(a[0], b[0]),
        "sfid": fid(a[1], b[1]),
        "fid_by_pytorch_fid": fid_by_pytorch_fid(a[0], b[0]),
        "inception_score_1": score(b[2], 1),
        "inception_score_3": score(b[2], 3),
        **{f"precision_{k}": prc(k)["precision"] for k in (1, 3)},
        **{f"recall_{k}": prc(k)["recall"] for k in (1, 3)},
        "kid": kid["kernel_inception_distance_mean"],
    }
    print(json.dumps(expected, indent=1))
    json.dump(expected, open("expected.json", "w"), indent=1)
    tensors = {
        "real.pooled": a[0], "generated.pooled": b[0], "real.spatial": a[1][:3],
        "real.logits": a[2][:3], "generated.logits": b[2], "real.pytorch_fid": p,
    }
    outputs = efficient_net_outputs(efficient_net(), enlarged(real[:3]))
    tensors.update({"efficientnet." + name: value for name, value in outputs.items()})
    arrays = dict(
        arr_0=np.arange(54, dtype=np.uint8).reshape(3, 2, 3, 3), mu=np.array([0, 0.5, 1]),
        sigma=np.diag([1.0, 2, 3]), half=np.array([1.5, -0.25, 65504, 2.0**-24], dtype=np.float16),
        fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)), names=np.array(["real", "other"]))
    np.savez("numpy.npz", **arrays)
    np.savez_compressed("compressed.npz", **arrays)
    save_file({name: value.contiguous() for name, value in tensors.items()}, "expected.safetensors")


def write_inputs(folder):
    from PIL import Image

    os.makedirs(folder, exist_ok=True)
    fidelity(folder)
    for name, first, count in (("real", 0, REAL), ("generated", 100, GENERATED)):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        batch = pictures(first, count)
        np.savez(os.path.join(folder, name + ".npz"), batch)
        for index, image in enumerate(batch):
            Image.fromarray(image).save(os.path.join(folder, name, f"{index:04}.png"))


if __name__ == "__main__":
    torch.manual_seed(0)
    allow_foreign_torchvision()
    write_inputs(sys.argv[2]) if sys.argv[1:2] == ["weights"] else main()
