// TorchShim is loaded at run time; it exports one function.
#ifndef TORCHSHIM_H
#define TORCHSHIM_H

#include "CTorch.h"

#ifdef __cplusplus
extern "C"
#endif
const CTorchAPI *ct_api(void);

#endif
