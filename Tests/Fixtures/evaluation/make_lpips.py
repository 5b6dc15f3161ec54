"""Makes lpips.safetensors: what the PyPI package lpips makes of pictures and weights by make.py's formulas.

Run in this folder, in make.py's environment, with:
    pip install --no-deps lpips==0.1.4
    python make_lpips.py

VGG16 has its true shape and torchvision's names; the linear layers, which learn no negative weights, get
the formula's without their sign. All is computed in float64. The pictures are noisy: in even ones many
numbers are alike, and which of them is the largest, and gets the gradient, would be a matter of rounding.
`python make_lpips.py weights FOLDER` writes the same weights as the two files, and as the one, that users
have, to try `mvar train tokenizer --perceptual lpips:…` by hand.
"""

import os, sys
import torch

from make import allow_foreign_torchvision, pictures, weight

SIDE, COUNT = 32, 3
FIRST = 5, 100


def network():
    """LPIPS with weights by formula, and VGG16's as torchvision names them."""
    import lpips

    distance = lpips.LPIPS(net="vgg", version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    state, features = distance.state_dict(), {}
    for name, tensor in state.items():
        if name.startswith("net."):
            plain = "features." + name.split(".", 2)[2]
            features[plain] = state[name] = weight(plain, tuple(tensor.shape))
        elif name.startswith("lin"):
            plain = name if name[3] != "s" else f"lin{name[5]}.model.1.weight"
            state[name] = weight(plain, tuple(tensor.shape)).abs()
    distance.load_state_dict(state)
    return distance.eval(), features


def pixels(first):
    """[COUNT, 3, SIDE, SIDE] in [−1, 1]: the upper left corners."""
    batch = torch.from_numpy(pictures(first, COUNT)[:, :SIDE, :SIDE])
    return batch.permute(0, 3, 1, 2).double().contiguous() / 127.5 - 1


def main():
    from safetensors.torch import save_file

    distance = network()[0].double()
    a, b = pixels(FIRST[0]).requires_grad_(), pixels(FIRST[1])
    total, layers = distance(a, b, retPerLayer=True)
    total.sum().backward()
    tensors = {
        "distance": total.detach().flatten(),
        "layers": torch.stack([layer.detach().flatten() for layer in layers], 1),
        "gradient": a.grad[:1],
    }
    print(tensors["distance"], tensors["layers"], a.grad.abs().amax((1, 2, 3)))
    save_file({name: value.float().contiguous() for name, value in tensors.items()}, "lpips.safetensors")


def write_weights(folder):
    os.makedirs(folder, exist_ok=True)
    distance, features = network()
    state = distance.state_dict()
    linear = {name: value for name, value in state.items() if name[:3] == "lin" and name[3] != "s"}
    old = dict(_use_new_zipfile_serialization=False)
    torch.save(features, os.path.join(folder, "vgg16.pth"), **old)
    torch.save(linear, os.path.join(folder, "vgg.pth"), **old)
    torch.save(state, os.path.join(folder, "lpips.pth"))


if __name__ == "__main__":
    allow_foreign_torchvision()
    write_weights(sys.argv[2]) if sys.argv[1:2] == ["weights"] else main()
