// Stands in for cuSPARSE's header, of which libtorch's headers name these and this library uses nothing.
#pragma once

typedef struct cusparseContext *cusparseHandle_t;
typedef enum { CUSPARSE_STATUS_SUCCESS = 0 } cusparseStatus_t;
