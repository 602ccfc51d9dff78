// The table of one instruction set. Included last by each loops_*.cpp.

namespace trireme::cpu::TRIREME_ISA {

inline constexpr Loops kLoops = {
    .linear = linear,
    .linear_panel_group = kDirectPanels > kTilePanels ? kDirectPanels : kTilePanels,
    .attention = attention,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .gelu_tanh = gelu_tanh,
    .add_partial = add_partial,
    .add_row = add_row,
    .rotary_angles = rotary_angles,
    .rotate = rotate,
    .soft_cap = soft_cap,
    .exp = exp_row,
};

}  // namespace trireme::cpu::TRIREME_ISA
