//! The inner loops of the selection, each with eight sums side by side, which the compiler
//! vectorises.
//!
//! Each loop is compiled twice: portably, and for AVX2 with fused multiply-add, which is used where
//! the machine has both. The two round differently, so they agree closely but not to the bit. One
//! path gives the same bits for the same input on every thread.

#![expect(unsafe_code, reason = "code for AVX2 and FMA may run only where they were detected")]

mod loops;
mod products;
#[cfg(test)]
mod tests;

/// Scratch for [`Simd::add_products`]: one row for each component of a key.
pub(crate) type Panel = Vec<[f32; PANEL]>;
const PANEL: usize = products::KEYS;

/// Selects one of the two compilations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Simd(Path);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Portable,
    /// Only [`Simd::detect`] creates it, after it detected both features.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Simd {
    /// The portable compilation.
    pub(crate) const PORTABLE: Self = Self(Path::Portable);

    /// The fastest compilation for this machine.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self(Path::Avx2);
        }
        Self::PORTABLE
    }

    /// A name for reports.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Path::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => "AVX2",
        }
    }
}

/// Declares each loop as a method of [`Simd`], and compiles it a second time for AVX2 and FMA.
macro_rules! compile_twice {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => {
        impl Simd {
            $($(#[$doc])*
            pub(crate) fn $name(self, $($arg: $type),*) $(-> $out)? {
                match self.0 {
                    Path::Portable => body::$name::<false>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: `Simd::detect` found AVX2 and FMA, or this path would not exist.
                    Path::Avx2 => unsafe { avx2::$name($($arg),*) },
                }
            })*
        }

        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            use super::PANEL;
            $(#[target_feature(enable = "avx2,fma")]
            pub(super) fn $name($($arg: $type),*) $(-> $out)? {
                super::body::$name::<true>($($arg),*)
            })*
        }
    };
}

compile_twice! {
    /// `Σ x²` in f64, so that no finite key overflows and only a zero key is zero.
    fn square(x: &[f32]) -> f64;
    /// `to += x·scale`, over the shorter.
    fn add_scaled(to: &mut [f32], x: &[f32], scale: f32);
    /// `to += Σ_j row_j·weight_j`: `rows` `[J, to]`.
    fn add_weighted(to: &mut [f32], rows: &[f32], weights: &[f32]);
    /// `to_j += query·row_j`: `rows` `[to, query]`.
    fn add_dots(to: &mut [f32], query: &[f32], rows: &[f32]);
    /// `to[q, j] += query_q·key_j` ([`products`]).
    fn add_products(to: &mut [f32], stride: usize, queries: &[f32], keys: &[f32], panel: &mut [[f32; PANEL]]);
    /// `to += weight·softmax(scale·x)`; overwrites `x`. Elements of -∞ are excluded; `scale` is
    /// positive; no element is NaN or +∞.
    fn add_softmax(to: &mut [f32], x: &mut [f32], scale: f32, weight: f32);
    /// Whether all elements are finite.
    fn are_finite(x: &[f32]) -> bool;
}

/// The loops by one path, for the macro.
mod body {
    pub(super) use super::loops::{add_dots, add_scaled, add_softmax, add_weighted, are_finite, square};
    pub(super) use super::products::add_products;
}
