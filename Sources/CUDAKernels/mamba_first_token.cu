// What a first scale of one token leaves to the scales behind it, in all layers of a model at once.

/// Its state h = (dt·x)ᵀ · B and what its convolution has seen, with the roundings of the scans.
///
/// `rows` [layers, classes, D + 128 + H] are [x, B, C, dt] as `in_proj` gives them for each class, and `own_classes` [R] those of
/// the sequences; weights are those of `mamba_scan`, for each layer. conv_after [layers, R, 3, D + 128]; state is that of all
/// layers. Grid: heads, sequences, layers; 128 threads.
extern "C" __global__ __launch_bounds__(128) void mamba_first_token(const half_t *rows, const long long *own_classes,
                                                                    const float *conv_weight, const float *conv_bias,
                                                                    const float *dt_bias, half_t *conv_after, half_t *state,
                                                                    int classes) {
  __shared__ uint32 convolved[2][32];
  let_successor_start();
  wait_for_predecessor();
  const int head = blockIdx.x, heads = gridDim.x, inner = heads * 64, channels = inner + 128;
  const long long layer = blockIdx.z, sequence = layer * gridDim.y + blockIdx.y;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  rows += (layer * classes + own_classes[blockIdx.y]) * (channels + heads);
  if (warp < 2) {
    // In front of it there is nothing.
    const int channel = (warp == 0 ? head * 64 : inner) + 2 * lane;
    const uint32 pair = load4(rows + channel);
    const float *const weight = conv_weight + (layer * channels + channel) * 4, *const bias = conv_bias + layer * channels + channel;
    float y0 = bias[0] + weight[3] * first(pair), y1 = bias[1] + weight[7] * second(pair);
    silu_of_two(y0, y1);
    convolved[warp][lane] = pack(y0, y1);
  }
  const float dt = softplus(to_float(rows[channels + head]) + dt_bias[layer * heads + head]);
  conv_after += sequence * 3 * channels;
  const auto keep = [&](int part) { keep_last_rows(conv_after + part * 64, rows + part * 64, 0, nullptr, channels, 1); };
  keep(head);
  if (head == 0) keep(heads), keep(heads + 1);
  __syncthreads();
  const half_t *const x = reinterpret_cast<const half_t *>(convolved[0]) + warp * 16 + g;
  const uint32 both = pack(to_float(x[0]) * dt, to_float(x[8]) * dt);
  const CarriedState own_state(state, sequence * heads + head);
#pragma unroll
  for (int part = 0; part < 4; part++) {
    float h[2][4];
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const uint32 b = convolved[1][part * 8 + j * 4 + t];
      h[j][0] = first(both) * first(b), h[j][1] = first(both) * second(b);
      h[j][2] = second(both) * first(b), h[j][3] = second(both) * second(b);
    }
    own_state.write(h, warp, part);
  }
}
