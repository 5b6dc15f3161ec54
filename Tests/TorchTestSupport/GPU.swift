import Torch

/// Whether this machine has a GPU that libtorch can use.
public let hasGPU: Bool = {
  try? LibTorch.load(cuda: true)
  return LibTorch.hasNVIDIADriver && CUDA.isAvailable
}()

/// The first GPU.
public let gpu = Device.cuda(0)
