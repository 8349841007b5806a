//! What a model costs, by arithmetic: parameters, bytes, floating-point operations, and the least
//! time that a board needs for them.
//!
//! Everything follows from [`crate::dims::Model`], a configuration and a [`Board`]; no device is
//! needed. The operations are those of the exported graphs, counted product by product;
//! `export/tests/test_cost.py` compares them with PyTorch's own count of the same graphs.
//!
//! A [`Floor`] is a lower bound of the time: weights and cached rows are read once, products run at
//! the peak rate of the data sheet, and everything else (activations, norms, softmax, launches,
//! copies) is free.
//!
//! | operation | floating-point operations |
//! |---|---|
//! | a product of `[n, i]` and `[i, o]` | 2·n·i·o |
//! | attention of n queries over m keys of width d | 4·n·m·d: scores, and the sum of values |

mod board;
mod codec;
mod guidance;
mod number;
mod parameters;
mod pass;
mod table5;
#[cfg(test)]
mod tests;

pub use board::{Board, Boards, Floor, Peaks, RooflineBound};
pub use codec::{WAN22, WanEncoder};
pub use guidance::{QWEN3_VL_8B, QwenVl, UMT5_XXL, Umt5Encoder};
pub use number::Number;
pub use parameters::{Count, context_ego, context_text, dit};
pub use pass::{Pass, PassCost, chunk, ego_work, text_work};
pub use table5::{Reading, Table5Step, bytes_per_token, selection_flops};
