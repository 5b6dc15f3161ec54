// Declares every entry of the table as a function of the namespace `ops`.
#pragma once

#include "Conversions.h"

namespace ops {
#define CT_OP(name, ...) char *name(__VA_ARGS__) noexcept;
#include "CTorchOperations.inc"
#undef CT_OP
}  // namespace ops
