//! Which vector instructions this processor has, found once.

use std::sync::OnceLock;

/// The instruction sets the kernels are written for. Their results have equal bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionSet {
    Avx512,
    Avx2,
    /// Plain Rust with `mul_add`: one instruction on NEON, a library call on x86 without FMA.
    Portable,
}

impl InstructionSet {
    /// The best set of this processor.
    pub fn best() -> Self {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().next().unwrap_or(Self::Portable))
    }

    /// All sets this processor can run, best first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Portable].into_iter().filter(|set| set.is_available())
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("fma")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }
}

/// Compiles one loop body for every instruction set and runs the copy for `$set`.
///
/// The body is ordinary Rust on slices; inlined into a function with the features enabled, the compiler
/// vectorises it. Strict floating-point semantics keep the bits equal.
macro_rules! dispatch {
    ($set:expr, $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {{
        #[inline(always)]
        fn $name($($argument: $type),*) $(-> $result)? $body

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
        fn avx512($($argument: $type),*) $(-> $result)? { $name($($argument),*) }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2($($argument: $type),*) $(-> $result)? { $name($($argument),*) }

        match $set {
            // SAFETY: a set is only ever chosen from `InstructionSet::available`.
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::InstructionSet::Avx512 => unsafe { avx512($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::InstructionSet::Avx2 => unsafe { avx2($($argument),*) },
            _ => $name($($argument),*),
        }
    }};
}
pub(crate) use dispatch;
