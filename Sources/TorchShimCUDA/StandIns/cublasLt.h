// Stands in for cuBLASLt's header, of which libtorch's headers name this and this library uses nothing.
#pragma once

typedef struct cublasLtContext *cublasLtHandle_t;
