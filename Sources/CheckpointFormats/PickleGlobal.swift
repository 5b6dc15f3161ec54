/// The names that a pickle may mention: everything else is refused.
///
/// None of them is ever called; each stands for a rule of this reader.
enum PickleGlobal: Equatable {
  /// `collections.OrderedDict`
  case orderedDictionary
  /// `torch._utils._rebuild_tensor_v2` and its kin: storage, offset, shape, strides, …
  case rebuildTensor
  /// `torch._utils._rebuild_tensor_v3`: the same with the element type named.
  case rebuildTypedTensor
  /// `torch._utils._rebuild_parameter`: a tensor and flags that do not matter here.
  case rebuildParameter
  /// `torch._tensor._rebuild_from_type_v2`: another rebuilding rule and its arguments.
  case rebuildFromType
  /// A storage class, with its element type unless it is untyped.
  case storage(ElementType?)
  /// A type that holds its elements as a tuple, such as `torch.Size`.
  case size
  /// `set` and `frozenset`
  case set
  /// `_codecs.encode`, in which protocol 2 wraps bytes.
  case encode
  /// A constant such as `torch.float16`.
  case elementType(ElementType)
  /// Anything harmless whose content is of no interest.
  case inert(String)
}

extension PickleGlobal {
  /// The rule for a name, or nil if the name is refused.
  init?(module: String, name: String) {
    let path = "\(module).\(name)"
    if let rule = Self.rules[path] {
      self = rule
    } else if Self.inertNames.contains(path) {
      self = .inert(path)
    } else if module == "torch" || module == "torch.storage", let rule = Self.torchType(name) {
      self = rule
    } else {
      return nil
    }
  }

  private static func torchType(_ name: String) -> PickleGlobal? {
    if let type = ElementType(torchStorageName: name) { return .storage(type) }
    if let type = ElementType(rawValue: name) { return .elementType(type) }
    return nil
  }

  private static let rules: [String: PickleGlobal] = [
    "collections.OrderedDict": .orderedDictionary,
    "torch._utils._rebuild_tensor": .rebuildTensor,
    "torch._utils._rebuild_tensor_v2": .rebuildTensor,
    "torch._utils._rebuild_tensor_v3": .rebuildTypedTensor,
    "torch._utils._rebuild_parameter": .rebuildParameter,
    "torch._utils._rebuild_parameter_with_state": .rebuildParameter,
    "torch._tensor._rebuild_from_type_v2": .rebuildFromType,
    "torch.UntypedStorage": .storage(nil),
    "torch.storage.UntypedStorage": .storage(nil),
    "torch.storage._UntypedStorage": .storage(nil),
    "torch.Size": .size,
    "builtins.set": .set,
    "builtins.frozenset": .set,
    "__builtin__.set": .set,
    "__builtin__.frozenset": .set,
    "_codecs.encode": .encode,
  ]

  private static let inertNames: Set<String> = [
    "argparse.Namespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.Tensor",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch.storage.TypedStorage",
    "torch.storage._TypedStorage",
    "torch.strided",
  ]
}

extension PickleGlobal: CustomStringConvertible {
  var description: String {
    switch self {
    case .inert(let name): name
    case .elementType(let type): "torch.\(type)"
    case .storage(let type): "torch.\(type?.torchStorageName ?? "UntypedStorage")"
    case .orderedDictionary: "collections.OrderedDict"
    case .rebuildTensor, .rebuildTypedTensor, .rebuildParameter, .rebuildFromType:
      "torch's rule for tensors"
    case .size: "torch.Size"
    case .set: "set"
    case .encode: "bytes"
    }
  }
}
