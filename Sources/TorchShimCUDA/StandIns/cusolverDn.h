// Stands in for cuSOLVER's header, of which libtorch's headers name these and this library uses nothing.
#pragma once

#include <cusolver_common.h>

typedef struct cusolverDnContext *cusolverDnHandle_t;
