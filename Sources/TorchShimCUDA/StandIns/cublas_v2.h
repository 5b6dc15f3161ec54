// Stands in for cuBLAS's header, of which libtorch's headers name these and this library uses nothing.
#pragma once

typedef struct cublasContext *cublasHandle_t;
typedef enum { CUBLAS_STATUS_SUCCESS = 0 } cublasStatus_t;
