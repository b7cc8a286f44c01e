//! Kernels compiled for the vectors that the processor has, chosen when they run.
//!
//! A [`Kernel`] is plain Rust over arrays of fixed size, from which the compiler makes vector instructions; here it is
//! compiled once for each width. It may shape its tiles by the width, but no sum: each number that comes out is summed
//! in one order, whatever the tile, and a product is rounded before it is added (Rust contracts none to a fused
//! multiply-add). So the bits are the same on every machine.

/// A computation worth compiling several times. `run` and all that it calls in its inner loops is `#[inline(always)]`:
/// what is not inlined is compiled for the narrowest vectors only.
pub(crate) trait Kernel {
    type Output;

    /// Runs with vectors of so many `f64`.
    fn run<const LANES: usize>(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors that this processor has.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    Width::widest().run(kernel)
}

/// Vectors that this processor has: a value exists only where they were detected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width(Vectors);

#[derive(Clone, Copy, Debug)]
enum Vectors {
    /// What every processor of the architecture has: SSE2, NEON.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Vectors {
    const WIDEST_FIRST: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        Self::Baseline,
    ];

    fn detected(self) -> bool {
        match self {
            Self::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
            }
        }
    }
}

impl Width {
    /// All that this processor has, the widest first.
    pub(crate) fn detected() -> impl Iterator<Item = Self> {
        let vectors = Vectors::WIDEST_FIRST.iter().copied();
        vectors.filter(|vectors| vectors.detected()).map(Self)
    }

    fn widest() -> Self {
        Self::detected().next().expect("the baseline is always there")
    }

    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "compiled for a processor that is only known now")
    )]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Vectors::Baseline => kernel.run::<2>(),
            // SAFETY: `detected` alone makes a width, of vectors that this processor has.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<4>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<8>()
}
