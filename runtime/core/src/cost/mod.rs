//! The cost of a model, by arithmetic: parameters, bytes, floating-point operations, and a lower
//! bound of the time on a board.
//!
//! Everything follows from [`crate::dims::Model`], a configuration and a [`Board`]. The counts are
//! those of the exported graphs, product by product; `export/tests/test_cost.py` compares them with
//! PyTorch's count of the same graphs. A floor is a lower bound: weights and cached rows are read
//! once, products run at the peak of the data sheet, and everything else (activations, norms,
//! softmax, launches, copies) takes no time.
//!
//! | operation | count |
//! |---|---|
//! | a product of `[n, i]` and `[i, o]` | 2·n·i·o |
//! | attention of n queries over m keys of width d | 4·n·m·d: scores, weighted sum |

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
