// Stands in for CUDA's header of half-precision numbers, which asks for headers of one more wheel; libtorch's own
// headers include it and use nothing of it on the host.
#pragma once
