"""A CUDA kernel for the very small GRUs of GTCRN.

Every recurrent layer of GTCRN has 16 hidden values in all: one GRU of 16, two
of 8, or four of 4 (two groups in two directions).  Library GRUs start some
kernels for each time step, which costs more than the arithmetic.  Here one
kernel walks all the steps: 16 lanes a sequence, one lane a hidden value.

If PyTorch cannot compile the kernel, `READY` is false and the model uses
`torch.nn.GRU`; the result is the same, only slower.
"""

import functools
import re

import torch

_SOURCE = r"""extern "C" {
__device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + __expf(-x));
}
__device__ __forceinline__ float tanh_(float x) {
  return 2.0f / (1.0f + __expf(-2.0f * x)) - 1.0f;
}

// H is the size of a group.
// gates [N, T, 48]: r, z, n before the recurrent part; w [3, 16, H];
// bn [16]; out [N, T, 16].  Bit g of `reverse` runs group g backwards.
__global__ void gru_forward(
    const float* gates, const float* w, const float* bn, float* out,
    int n_seq, int n_step, int reverse) {
  const int id = blockIdx.x * blockDim.x + threadIdx.x;
  const int lane = id & 15;
  const long seq = min(id >> 4, n_seq - 1);
  const bool active = (id >> 4) < n_seq;
  const bool back = (reverse >> (lane / H)) & 1;
  float wr[H], wz[H], wn[H];
  for (int k = 0; k < H; ++k) {
    wr[k] = w[lane * H + k];
    wz[k] = w[(16 + lane) * H + k];
    wn[k] = w[(32 + lane) * H + k];
  }
  const float b = bn[lane];
  float h = 0.0f;
  const float* in = gates + seq * n_step * 48 + lane;
  float* o = out + seq * n_step * 16 + lane;
  int t = back ? n_step - 1 : 0;
  const int dt = back ? -1 : 1;
  float gr = in[t * 48], gz = in[t * 48 + 16], gn = in[t * 48 + 32];
  for (int i = 0; i < n_step; ++i, t += dt) {
    float ar = gr, az = gz, an = gn, ah = b;
    if (i + 1 < n_step) {
      const float* p = in + (t + dt) * 48;
      gr = p[0]; gz = p[16]; gn = p[32];
    }
#pragma unroll
    for (int k = 0; k < H; ++k) {
      const float hk = __shfl_sync(0xffffffffu, h, k, H);
      ar += wr[k] * hk;
      az += wz[k] * hk;
      ah += wn[k] * hk;
    }
    const float r = sigmoid(ar), z = sigmoid(az);
    const float n = tanh_(an + r * ah);
    h = n + z * (h - n);
    if (active) o[t * 16] = h;
  }
}

// d_out [N, T, 16] -> d_gates [N, T, 48] and d_hn [N, T, 16], the gradient
// of the recurrent part of n before the reset gate.
__global__ void gru_backward(
    const float* gates, const float* w, const float* bn, const float* out,
    const float* d_out, float* d_gates, float* d_hn,
    int n_seq, int n_step, int reverse) {
  const int id = blockIdx.x * blockDim.x + threadIdx.x;
  const int lane = id & 15;
  const long seq = min(id >> 4, n_seq - 1);
  const bool active = (id >> 4) < n_seq;
  const int group = lane / H;
  const bool back = (reverse >> group) & 1;
  float wr[H], wz[H], wn[H], vr[H], vz[H], vn[H];
  for (int k = 0; k < H; ++k) {
    wr[k] = w[lane * H + k];
    wz[k] = w[(16 + lane) * H + k];
    wn[k] = w[(32 + lane) * H + k];
    const int row = group * H + k, col = lane % H;
    vr[k] = w[row * H + col];
    vz[k] = w[(16 + row) * H + col];
    vn[k] = w[(32 + row) * H + col];
  }
  const float b = bn[lane];
  const long base = seq * n_step;
  const int dt = back ? -1 : 1;
  int t = back ? 0 : n_step - 1;
  float carry = 0.0f;
  for (int i = n_step - 1; i >= 0; --i, t -= dt) {
    const float* p = gates + (base + t) * 48 + lane;
    const float prev = i ? out[(base + t - dt) * 16 + lane] : 0.0f;
    const float dh = carry + d_out[(base + t) * 16 + lane];
    float ar = p[0], az = p[16], ah = b;
#pragma unroll
    for (int k = 0; k < H; ++k) {
      const float hk = __shfl_sync(0xffffffffu, prev, k, H);
      ar += wr[k] * hk;
      az += wz[k] * hk;
      ah += wn[k] * hk;
    }
    const float r = sigmoid(ar), z = sigmoid(az);
    const float n = tanh_(p[32] + r * ah);
    const float dn = dh * (1.0f - z) * (1.0f - n * n);
    const float dz = dh * (prev - n) * z * (1.0f - z);
    const float dr = dn * ah * r * (1.0f - r);
    const float dah = dn * r;
    carry = dh * z;
#pragma unroll
    for (int k = 0; k < H; ++k) {
      carry += vr[k] * __shfl_sync(0xffffffffu, dr, k, H);
      carry += vz[k] * __shfl_sync(0xffffffffu, dz, k, H);
      carry += vn[k] * __shfl_sync(0xffffffffu, dah, k, H);
    }
    if (active) {
      float* q = d_gates + (base + t) * 48 + lane;
      q[0] = dr; q[16] = dz; q[32] = dn;
      d_hn[(base + t) * 16 + lane] = dah;
    }
  }
}
}
"""
_BLOCK = 128


@functools.lru_cache(maxsize=None)
def _kernel(name, hidden):
    """Compile kernel `name` for groups of `hidden` values."""
    source = re.sub(r"\bH\b", str(hidden), _SOURCE)
    return torch.cuda._compile_kernel(source, name)


def _ready():
    """Tell whether PyTorch can compile the kernels on this machine."""
    if not (torch.cuda.is_available()
            and hasattr(torch.cuda, "_compile_kernel")):
        return False
    try:
        for hidden in (4, 8, 16):
            _kernel("gru_forward", hidden)
            _kernel("gru_backward", hidden)
    except Exception as error:  # no run-time compiler
        print("no fast GRU:", error)
        return False
    return True


def usable(x):
    """Tell whether `run` works for the tensor x."""
    return READY and x.is_cuda


def _grid(n_seq):
    return ((n_seq * 16 + _BLOCK - 1) // _BLOCK, 1, 1)


@torch.library.custom_op("gtcrn::recurrence", mutates_args=())
def recurrence(gates: torch.Tensor, w: torch.Tensor, bn: torch.Tensor,
               reverse: int) -> torch.Tensor:
    """gates [N, T, 48], w [3, 16, H], bn [16] -> hidden values [N, T, 16]."""
    n_seq, n_step, _ = gates.shape
    out = gates.new_empty(n_seq, n_step, 16)
    _kernel("gru_forward", w.shape[2])(
        grid=_grid(n_seq), block=(_BLOCK, 1, 1),
        args=[gates, w, bn, out, n_seq, n_step, reverse])
    return out


@recurrence.register_fake
def _(gates, w, bn, reverse):
    return gates.new_empty(gates.shape[0], gates.shape[1], 16)


@torch.library.custom_op("gtcrn::recurrence_backward", mutates_args=())
def recurrence_backward(gates: torch.Tensor, w: torch.Tensor, bn: torch.Tensor,
                        out: torch.Tensor, d_out: torch.Tensor,
                        reverse: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients for `gates` and for the recurrent part of n."""
    n_seq, n_step, _ = gates.shape
    d_gates = torch.empty_like(gates)
    d_hn = torch.empty_like(out)
    _kernel("gru_backward", w.shape[2])(
        grid=_grid(n_seq), block=(_BLOCK, 1, 1),
        args=[gates, w, bn, out, d_out, d_gates, d_hn, n_seq, n_step, reverse])
    return d_gates, d_hn


@recurrence_backward.register_fake
def _(gates, w, bn, out, d_out, reverse):
    return torch.empty_like(gates), torch.empty_like(out)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3], output)
    ctx.reverse = inputs[3]


def _backward(ctx, d_out):
    gates, w, bn, out = ctx.saved_tensors
    hidden = w.shape[2]
    d_gates, d_hn = recurrence_backward(gates, w, bn, out, d_out.contiguous(),
                                        ctx.reverse)
    # The hidden values one step earlier; one step later where a group runs
    # backwards (there the directions take turns of `hidden` values).
    pad = torch.nn.functional.pad
    before = pad(out, (0, 0, 1, 0))[:, :-1]
    if ctx.reverse:
        after = pad(out, (0, 0, 0, 1))[:, 1:]
        parts = [(after if ctx.reverse >> g & 1 else before)[
            ..., g * hidden:(g + 1) * hidden] for g in range(16 // hidden)]
        before = torch.cat(parts, 2)
    before = before.reshape(-1, 16)
    d_rz = d_gates[..., :32].reshape(-1, 32).t() @ before
    d_n = d_hn.reshape(-1, 16).t() @ before
    full = torch.cat([d_rz, d_n]).view(3, 16, 16)
    d_w = torch.cat([full[:, i:i + hidden, i:i + hidden]
                     for i in range(0, 16, hidden)], 1)
    return d_gates, d_w, d_hn.sum((0, 1)), None


recurrence.register_autograd(_backward, setup_context=_setup)


def run(x, grus):
    """Run several one-layer GRUs side by side from zero states.

    x: [N, T, C]; the GRUs take equal slices of C in turn, except that a
    bidirectional one uses its slice twice.  Returns [N, T, 16], laid out as
    the concatenated outputs of `torch.nn.GRU`.
    """
    width = x.shape[2] // len(grus)
    hidden = grus[0].hidden_size
    w_in, w_rec, b_in, b_new, reverse, group = [], [], [], [], 0, 0
    for index, gru in enumerate(grus):
        for suffix in ("", "_reverse") if gru.bidirectional else ("",):
            w_ih = getattr(gru, "weight_ih_l0" + suffix)
            b_hh = getattr(gru, "bias_hh_l0" + suffix).view(3, hidden)
            before = width * index
            w_ih = torch.nn.functional.pad(
                w_ih, (before, x.shape[2] - width - before))
            w_in.append(w_ih.view(3, hidden, x.shape[2]))
            w_rec.append(getattr(gru, "weight_hh_l0" + suffix)
                         .view(3, hidden, hidden))
            b_ih = getattr(gru, "bias_ih_l0" + suffix).view(3, hidden)
            b_in.append(torch.cat([b_ih[:2] + b_hh[:2], b_ih[2:]]))
            b_new.append(b_hh[2])
            reverse |= int(bool(suffix)) << group
            group += 1
    gates = torch.nn.functional.linear(
        x, torch.cat(w_in, 1).flatten(0, 1), torch.cat(b_in, 1).flatten())
    return recurrence(gates.contiguous(), torch.cat(w_rec, 1),
                      torch.cat(b_new), int(reverse))


READY = _ready()
