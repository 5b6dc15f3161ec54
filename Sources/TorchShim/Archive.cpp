// The zip containers of torch.save, read with libtorch's own reader.
#include <caffe2/serialize/inline_container.h>

#include "Operations.h"

using namespace shim;
using caffe2::serialize::PyTorchStreamReader;

namespace {

struct Archive {
  explicit Archive(const char *path) : reader(path), names(reader.getAllRecords()) {}
  PyTorchStreamReader reader;
  std::vector<std::string> names;
};

Archive &at_handle(ct_archive handle) { return *reinterpret_cast<Archive *>(handle); }

}  // namespace

namespace ops {

OP(archive_open, (const char *path, ct_archive *out), *out = reinterpret_cast<ct_archive>(new Archive(path)))
OP(archive_close, (ct_archive archive), delete &at_handle(archive))
OP(archive_record_count, (ct_archive archive, size_t *out), *out = at_handle(archive).names.size())
OP(archive_record_name, (ct_archive archive, size_t index, const char **out),
   *out = at_handle(archive).names.at(index).c_str())
OP(archive_record_size, (ct_archive archive, const char *name, size_t *out),
   *out = at_handle(archive).reader.getRecordSize(name))
OP(archive_record_offset, (ct_archive archive, const char *name, size_t *out),
   *out = at_handle(archive).reader.getRecordOffset(name))
OP(archive_read, (ct_archive archive, const char *name, void *destination, size_t byte_count),
   at_handle(archive).reader.getRecord(name, destination, byte_count))

}  // namespace ops
