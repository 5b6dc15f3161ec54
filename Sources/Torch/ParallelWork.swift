import CTorch

/// Does `count` units of work with the threads that libtorch's operations use, on memory that tensors own.
///
/// Does nothing once an operation of this scope has failed: placeholders have no such memory.
///
/// - Parameters:
///   - grain: Units that a thread takes at a time.
///   - body: Does a range of units; several ranges at once.
package func inParallel(
  _ count: Int, grain: Int = 1, _ body: @Sendable (Range<Int>) -> Void
) {
  guard !operationsHaveFailed else { return }
  typealias Body = @Sendable (Range<Int>) -> Void
  withoutActuallyEscaping(body) { body in
    withUnsafePointer(to: body) { context in
      perform("parallel_for") {
        $0.parallel_for(
          Int64(count), Int64(grain),
          { context, begin, end in
            context!.assumingMemoryBound(to: Body.self).pointee(Int(begin)..<Int(end))
          }, UnsafeMutableRawPointer(mutating: context))
      }
    }
  }
}

/// Whether an operation of this scope has failed, so that tensors may be placeholders of any shape and type.
package var operationsHaveFailed: Bool { ErrorScope.current?.first != nil }

/// Stops the program where tensors are not as a kernel needs them, unless they are placeholders, with which
/// ``inParallel(_:grain:_:)`` does nothing.
package func requireOfTensors(
  _ condition: @autoclosure () -> Bool, file: StaticString = #fileID, line: UInt = #line
) {
  precondition(operationsHaveFailed || condition(), "a kernel's tensors", file: file, line: line)
}

extension Tensor {
  /// Where the elements of a tensor on a CPU lie.
  package var memory: UnsafeMutableRawPointer {
    var address: UnsafeMutableRawPointer?
    perform("data", [self]) { $0.data(handle, &address) }
    return address!
  }

  /// Whether kernels of ours may compute with it: on a CPU that can run them, in a type that they know, with neighbours
  /// side by side along the last axis, and with no gradient to record; no placeholder.
  package var suitsCPUKernels: Bool {
    !operationsHaveFailed && device == .cpu && Device.cpuRunsKernels
      && (dtype == .float32 || dtype == .bfloat16)
      && strides.last == 1 && !requiresGradient
  }
}
