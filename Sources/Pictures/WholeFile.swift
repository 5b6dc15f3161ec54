/// Puts the bytes of any file at `path`, whole or not at all, in the way that pictures are written.
///
/// - Throws: ``PictureError`` of kind `unwritable` naming the path and what to do.
package func writeWholeFile(_ bytes: [UInt8], to path: String) throws(PictureError) {
  try writeFile(bytes, to: path)
}
