// swift-tools-version: 6.1
import Foundation
import PackageDescription

/// `make setup` links libtorch's headers and libraries here, whichever way it found them.
let torch = Context.packageDirectory + "/.torch"

/// The part of the shim for NVIDIA GPUs is built wherever libtorch has one too; it takes no GPU to build it.
let hasCUDA =
  FileManager.default.fileExists(atPath: torch + "/cuda/crt/host_defines.h")
  && FileManager.default.fileExists(atPath: torch + "/lib/libtorch_cuda.so")

/// libtorch's collectives on CPUs, whose headers its wheel leaves out; `make setup` installs Debian's.
let hasGloo = FileManager.default.fileExists(atPath: "/usr/include/gloo/config.h")

let torchHeaders: [CXXSetting] = [
  .unsafeFlags([
    "-isystem", torch + "/include",
    "-isystem", torch + "/include/torch/csrc/api/include",
    "-isystem", torch + "/cuda",
  ])
]
let torchLibraries: [LinkerSetting] = [
  .unsafeFlags(["-L" + torch + "/lib", "-Xlinker", "-rpath", "-Xlinker", torch + "/lib"]),
  .linkedLibrary("torch_cpu"), .linkedLibrary("c10"),
]

/// Kernels for CPUs are of use only in vectors and only when optimised, in debug builds too. On x86 they take AVX2, which
/// is looked for when the program runs.
#if arch(x86_64)
  let vectorInstructions = ["-Xcc", "-mavx2", "-Xcc", "-mfma"]
#else
  let vectorInstructions: [String] = []
#endif

let package = Package(
  name: "swift-mvar",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "MVAR", targets: ["MVAR"]),
    .library(name: "ModelHub", targets: ["ModelHub"]),
    .library(name: "MVARServer", targets: ["MVARServer"]),
    .executable(name: "mvar", targets: ["MVARCommand"]),
    // Nobody links it: `Torch` opens it at run time, so that `mvar --help` does not wait for libtorch.
    .library(name: "TorchShim", type: .dynamic, targets: ["TorchShim"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.92.0"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.30.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.30.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.0.0"),
  ],
  targets: [
    .target(
      name: "CTorch",
      cSettings: [.define("MVAR_TORCH_DIRECTORY", to: "\"\(torch)\"")]),
    .target(
      name: "TorchShim",
      dependencies: ["CTorch"],
      cxxSettings: torchHeaders + (hasGloo ? [.define("USE_C10D_GLOO")] : []),
      linkerSettings: torchLibraries),
    .target(name: "Torch", dependencies: ["CTorch"]),
    .target(
      name: "CPUKernels",
      swiftSettings: [
        .unsafeFlags(vectorInstructions),
        // The other flags make debug builds accept whole modules.
        .unsafeFlags(
          ["-O", "-whole-module-optimization", "-num-threads", "1", "-disable-batch-mode"],
          .when(configuration: .debug)),
      ]),
    .target(name: "StateSpace", dependencies: ["Torch", "CPUKernels"]),
    .target(
      name: "CUDAKernels", dependencies: ["Torch"],
      resources: [
        .embedInCode("mamba_scan_short.cu"), .embedInCode("mamba_scan_at_once.cu"),
        .embedInCode("mamba_scan_of_16.cu"), .embedInCode("mamba_first_token.cu"),
        .embedInCode("attention_at_once.cu"), .embedInCode("embed_tokens.cu"),
        .embedInCode("common.cu"), .embedInCode("modulated_norm.cu"), .embedInCode("attention.cu"),
        .embedInCode("mamba_scan.cu"), .embedInCode("mamba_scan_wgmma.cu"),
        .embedInCode("gate.cu"), .embedInCode("matrix_units.cu"),
        .embedInCode("attention_wgmma.cu"), .embedInCode("attention_streamed.cu"),
        .embedInCode("attention_projection.cu"),
        .embedInCode("token_draw.cu"),
        .embedInCode("group_norm.cu"), .embedInCode("group_norm_gradient.cu"),
        .embedInCode("linear_few_rows.cu"), .embedInCode("linear_wgmma.cu"),
        .embedInCode("token_map.cu"), .embedInCode("last_convolution.cu"),
        .embedInCode("convolution.cu"),
        .embedInCode("ssd_training.cu"), .embedInCode("modulated_norm_gradient.cu"),
        .embedInCode("attention_training.cu"), .embedInCode("training_losses.cu"),
      ]),
    .target(name: "CheckpointFormats"),
    .target(name: "ClassNames"),
    .systemLibrary(
      name: "CPicturesPNG", pkgConfig: "spng",
      providers: [.apt(["libspng-dev"]), .brew(["libspng"])]),
    .systemLibrary(
      name: "CPicturesJPEG", pkgConfig: "libturbojpeg",
      providers: [.apt(["libturbojpeg0-dev"]), .brew(["jpeg-turbo"])]),
    .systemLibrary(
      name: "CPicturesWebP", pkgConfig: "libwebpdemux",
      providers: [.apt(["libwebp-dev"]), .brew(["webp"])]),
    .systemLibrary(
      name: "CPicturesEXIF", pkgConfig: "libexif",
      providers: [.apt(["libexif-dev"]), .brew(["libexif"])]),
    .systemLibrary(
      name: "CDigest", pkgConfig: "libcrypto",
      providers: [.apt(["libssl-dev"]), .brew(["openssl"])]),
    .systemLibrary(
      name: "CArchive", pkgConfig: "libarchive",
      providers: [.apt(["libarchive-dev"]), .brew(["libarchive"])]),
    .target(name: "Digests", dependencies: ["CDigest"]),
    .target(
      name: "Pictures",
      dependencies: ["CPicturesPNG", "CPicturesJPEG", "CPicturesWebP", "CPicturesEXIF"]),
    .target(
      name: "MVAR",
      dependencies: [
        "Torch", "StateSpace", "CPUKernels", "CUDAKernels", "CheckpointFormats", "ClassNames",
        "Pictures", "Digests",
      ]),
    .target(
      name: "ModelHub",
      dependencies: [
        "Digests", .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOFoundationCompat", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    .target(
      name: "MVARServer",
      dependencies: [
        "MVAR", "Torch", "Pictures", "ClassNames", "CDigest",
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      resources: [
        .embedInCode("Page/page.html"), .embedInCode("Page/page.css"),
        .embedInCode("Page/page.js"), .embedInCode("API/openapi.json"),
      ]),
    .target(
      name: "MVARTraining",
      dependencies: [
        "MVAR", "Torch", "StateSpace", "CheckpointFormats", "Pictures", "ClassNames", "CArchive",
        "FeatureNetworks",
      ]),
    .systemLibrary(
      name: "CZip", pkgConfig: "libzip",
      providers: [.apt(["libzip-dev"]), .brew(["libzip"])]),
    .target(name: "FeatureNetworks", dependencies: ["MVAR", "Torch", "Pictures"]),
    .target(
      name: "MVAREvaluation",
      dependencies: ["FeatureNetworks", "MVAR", "Torch", "Pictures", "CheckpointFormats", "CZip"]),
    .executableTarget(
      name: "MVARCommand",
      dependencies: [
        "MVAR", "MVARServer", "MVARTraining", "MVAREvaluation", "FeatureNetworks", "ModelHub",
        "Pictures",
        "ClassNames", "Torch",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .target(
      name: "TorchTestSupport", dependencies: ["Torch", "CheckpointFormats", "MVAR", "Pictures"],
      path: "Tests/TorchTestSupport"),
    .testTarget(
      name: "TorchTests", dependencies: ["Torch", "TorchTestSupport", "PortTestSupport"]),
    .testTarget(
      name: "CUDAKernelsTests", dependencies: ["CUDAKernels", "MVAR", "TorchTestSupport"]),
    .testTarget(name: "StateSpaceTests", dependencies: ["StateSpace", "TorchTestSupport"]),
    .testTarget(
      name: "MVARCommandTests",
      dependencies: [
        "MVARCommand", "TorchTestSupport", "Pictures", "CheckpointFormats", "MVARTraining",
        "FeatureNetworks", "ModelHubTestSupport", "PortTestSupport",
      ]),
    .testTarget(name: "MVARTests", dependencies: ["MVAR", "TorchTestSupport"]),
    .testTarget(
      name: "MVARTrainingTests",
      dependencies: [
        "MVARTraining", "TorchTestSupport", "PortTestSupport", "Pictures", "CheckpointFormats",
      ]),
    .testTarget(
      name: "FeatureNetworksTests",
      dependencies: ["FeatureNetworks", "TorchTestSupport", "CheckpointFormats", "Pictures"]),
    .testTarget(
      name: "MVAREvaluationTests",
      dependencies: ["MVAREvaluation", "FeatureNetworks", "TorchTestSupport", "Pictures"]),
    .target(
      name: "ModelHubTestSupport", dependencies: ["Digests", "PortTestSupport"],
      path: "Tests/ModelHubTestSupport"),
    .target(name: "PortTestSupport", path: "Tests/PortTestSupport"),
    .testTarget(
      name: "ModelHubTests", dependencies: ["ModelHub", "ModelHubTestSupport", "Digests"]),
    .testTarget(
      name: "MVARServerTests",
      dependencies: [
        "MVARServer", "MVAR", "Pictures", "ClassNames", "TorchTestSupport",
        .product(name: "HummingbirdTesting", package: "hummingbird"),
      ]),
    .testTarget(name: "CheckpointFormatsTests", dependencies: ["CheckpointFormats"]),
    .testTarget(name: "ClassNamesTests", dependencies: ["ClassNames"]),
    .testTarget(name: "PicturesTests", dependencies: ["Pictures"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)

if hasCUDA {
  package.products.append(
    .library(name: "TorchShimCUDA", type: .dynamic, targets: ["TorchShimCUDA"]))
  package.targets.append(
    .target(
      name: "TorchShimCUDA",
      dependencies: ["CTorch"],
      // StandIns/ has what libtorch's header of NCCL asks for, instead of wheels of a gigabyte.
      cxxSettings: [.headerSearchPath("StandIns"), .define("USE_C10D_NCCL")] + torchHeaders,
      linkerSettings: torchLibraries + [.linkedLibrary("torch_cuda"), .linkedLibrary("c10_cuda")]))
}
