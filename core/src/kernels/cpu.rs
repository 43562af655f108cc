//! Which instructions this processor has, as tokens that only detection can make.
//!
//! A kernel for an instruction set is a safe `#[target_feature]` function. Calling one from ordinary code is unsafe,
//! unless the processor has the instructions; holding [`Avx512`] or [`Avx2`] is the proof.

/// Proof that the processor has AVX-512 F, BW, DQ, VL, VBMI and BITALG, GFNI and BMI2 (Ice Lake, Zen 4 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

/// Proof that the processor has AVX2 and BMI2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx512 {
    /// The token, if the processor has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512bitalg")
            && is_x86_feature_detected!("gfni")
            && is_x86_feature_detected!("bmi2")
        {
            return Some(Self(()));
        }
        None
    }
}

impl Avx2 {
    /// The token, if the processor has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            return Some(Self(()));
        }
        None
    }
}

/// The instruction set that kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What Rust's baseline of the target has.
    Portable,
    /// 32 bytes at a time.
    Avx2(Avx2),
    /// 64 bytes at a time.
    Avx512(Avx512),
}

impl Isa {
    /// The widest set that the processor has.
    pub(crate) fn detect() -> Self {
        Self::available().pop().unwrap_or(Isa::Portable)
    }

    /// Every set that the processor has, narrowest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut found = vec![Isa::Portable];
        found.extend(Avx2::detect().map(Isa::Avx2));
        found.extend(Avx512::detect().map(Isa::Avx512));
        found
    }

    /// The set called `name` in `CENOTE_ISA`, if the processor has it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|isa| isa.name() == name)
    }

    /// The name by which `CENOTE_ISA` forces it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2(_) => "avx2",
            Isa::Avx512(_) => "avx512",
        }
    }
}
