#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The system's words for the error that the last call left in `errno`.
func systemErrorText(_ code: Int32 = errno) -> String {
  String(cString: strerror(code))
}
