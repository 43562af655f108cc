//! `Math.exp` as Java computes it on x86-64, bit for bit.
//!
//! In flows one `f64`; out flows the value that HotSpot's intrinsic gives, on every platform that we run on. That
//! matters beyond the last digit: a default threshold is often the very probability of some training row, so that
//! one unit in the last place there turns a label.
//!
//! The intrinsic is Intel's table method: `x = (64 n + j) ln2/64 + y`, `exp(x) = 2^n T[j] (1 + P(y))` with `T[j]` a
//! head and a relative tail, and `P` of degree 6. A result depends on the order in which those terms are added, so
//! that order is part of the contract here and no term may be fused. `docs/numerics.md` says how it was checked.
//! [`exps`](super::exps) has it for many numbers at once.

/// `2^(j/64)`: the head, rounded toward zero, and what is left over, relative to the head.
#[rustfmt::skip]
pub(super) static POWERS: [[u64; 2]; 64] = [
    [0x3ff0_0000_0000_0000, 0x0000_0000_0000_0000],
    [0x3ff0_2c9a_3e77_8060, 0x3cad_7bbf_0e03_754e],
    [0x3ff0_59b0_d315_8574, 0x3c8c_d252_3567_f613],
    [0x3ff0_8745_1875_9bc8, 0x3c60_f74e_61e6_c861],
    [0x3ff0_b558_6cf9_890f, 0x3c97_9aa6_5d83_7b6d],
    [0x3ff0_e3ec_32d3_d1a2, 0x3c3e_be3d_702f_9cd1],
    [0x3ff1_1301_d012_5b50, 0x3ca3_516e_1e63_bcd8],
    [0x3ff1_429a_aea9_2ddf, 0x3ca4_c554_26f0_387b],
    [0x3ff1_72b8_3c7d_517a, 0x3ca9_5153_6252_3fb6],
    [0x3ff1_a35b_eb6f_cb75, 0x3c8b_898c_3f13_53bf],
    [0x3ff1_d487_3168_b9aa, 0x3c9a_ecf7_3e3a_2f60],
    [0x3ff2_063b_8862_8cd6, 0x3c8a_6f41_44a6_c38d],
    [0x3ff2_387a_6e75_6238, 0x3c96_8efd_e3a8_a894],
    [0x3ff2_6b45_65e2_7cdd, 0x3c80_472b_981f_e7f2],
    [0x3ff2_9e9d_f51f_dee1, 0x3c82_f7e1_6d09_ab31],
    [0x3ff2_d285_a6e4_030b, 0x3c8b_3782_720c_0ab4],
    [0x3ff3_06fe_0a31_b715, 0x3c83_4d75_4db0_abb6],
    [0x3ff3_3c08_b264_16ff, 0x3c8f_dd39_5dd3_f84a],
    [0x3ff3_71a7_373a_a9ca, 0x3ca1_2f8c_cc18_7d29],
    [0x3ff3_a7db_34e5_9ff6, 0x3ca7_d229_738b_5e8c],
    [0x3ff3_dea6_4c12_3422, 0x3c85_9f48_a72a_4c6d],
    [0x3ff4_160a_21f7_2e29, 0x3ca8_b846_259d_9206],
    [0x3ff4_4e08_6061_892d, 0x3c43_63ed_60c2_ac11],
    [0x3ff4_86a2_b5c1_3cd0, 0x3c6e_cce1_daa1_0379],
    [0x3ff4_bfda_d536_2a27, 0x3c76_90ce_bb7a_afb0],
    [0x3ff4_f9b2_769d_2ca6, 0x3ca0_83cc_9b28_2a09],
    [0x3ff5_342b_569d_4f81, 0x3ca5_09b0_c1aa_e707],
    [0x3ff5_6f47_36b5_27da, 0x3c93_3505_18fd_d78e],
    [0x3ff5_ab07_dd48_5429, 0x3c90_63e1_e21c_5409],
    [0x3ff5_e76f_15ad_2148, 0x3c94_32e6_2b64_c035],
    [0x3ff6_247e_b03a_5584, 0x3ca0_1284_99f0_8c0a],
    [0x3ff6_6238_8255_2224, 0x3c99_f087_0073_dc06],
    [0x3ff6_a09e_667f_3bcc, 0x3c99_8d4d_0da0_5571],
    [0x3ff6_dfb2_3c65_1a2e, 0x3ca5_2bb9_86ce_4787],
    [0x3ff7_1f75_e8ec_5f73, 0x3ca3_2092_206f_0dac],
    [0x3ff7_5feb_5642_67c8, 0x3ca0_6122_8e17_a7a6],
    [0x3ff7_a114_73eb_0186, 0x3ca2_44ac_461e_9f86],
    [0x3ff7_e2f3_36cf_4e62, 0x3c65_ebe1_abd6_6c55],
    [0x3ff8_2589_994c_ce12, 0x3c96_fe9f_bbff_67d0],
    [0x3ff8_68d9_9b44_92ec, 0x3c95_1f14_14c8_01df],
    [0x3ff8_ace5_422a_a0db, 0x3c8d_b72f_c1f0_eab4],
    [0x3ff8_f1ae_9915_7736, 0x3c7b_f683_59f3_5f44],
    [0x3ff9_3737_b0cd_c5e4, 0x3ca3_60ba_9c06_283c],
    [0x3ff9_7d82_9fde_4e4f, 0x3c95_e8d1_20f9_62aa],
    [0x3ff9_c491_82a3_f090, 0x3c71_affc_2b91_ce27],
    [0x3ffa_0c66_7b5d_e564, 0x3c9b_6d34_589a_2ebd],
    [0x3ffa_5503_b23e_255c, 0x3c95_277c_9ab8_9881],
    [0x3ffa_9e6b_5579_fdbf, 0x3c84_6984_6e73_5ab3],
    [0x3ffa_e89f_995a_d3ad, 0x3c8c_1a77_92cb_3387],
    [0x3ffb_33a2_b84f_15fa, 0x3ca2_2466_dc2d_1d96],
    [0x3ffb_7f76_f2fb_5e46, 0x3ca1_112e_b195_05ae],
    [0x3ffb_cc1e_904b_c1d2, 0x3c74_ffd7_0a5f_ddcd],
    [0x3ffc_199b_dd85_529c, 0x3c73_6eae_30af_0cb3],
    [0x3ffc_67f1_2e57_d14b, 0x3c84_e08f_d109_59ac],
    [0x3ffc_b720_dcef_9069, 0x3c67_6b2c_6c92_1968],
    [0x3ffd_072d_4a07_897b, 0x3c93_7009_36df_99b3],
    [0x3ffd_5818_dcfb_a487, 0x3c74_a385_a63d_07a7],
    [0x3ffd_a9e6_03db_3285, 0x3c8e_5a50_d5c1_92ac],
    [0x3ffd_fc97_337b_9b5e, 0x3c98_bb73_1c4a_9792],
    [0x3ffe_502e_e78b_3ff6, 0x3c74_b604_603a_88d3],
    [0x3ffe_a4af_a2a4_90d9, 0x3c91_6f27_9209_4927],
    [0x3ffe_fa1b_ee61_5a27, 0x3c8e_c3bc_41aa_2008],
    [0x3fff_5076_5b6e_4540, 0x3c8a_64a9_31d1_85ee],
    [0x3fff_a7c1_819e_90d8, 0x3c77_893b_4d91_cd9d],
];

/// `64 / ln 2`.
pub(super) const STEPS_A_UNIT: f64 = f64::from_bits(0x4057_1547_652b_82fe);
/// The head of `ln 2 / 64`, short enough that its product with a step count is exact.
pub(super) const STEP_HEAD: f64 = f64::from_bits(0x3f86_2e42_fefa_0000);
/// The rest of `ln 2 / 64`.
pub(super) const STEP_TAIL: f64 = f64::from_bits(0x3d1c_f79a_bc9e_3b3a);
/// Adding this rounds a number of modest size to a whole one, which then stands in the low bits.
pub(super) const ROUND: f64 = f64::from_bits(0x4338_0000_0000_0000);
/// The coefficients of `y^2` to `y^6` in `P`: near Taylor's, shifted to spread the error.
pub(super) const P2: f64 = f64::from_bits(0x3fdf_ffff_ffff_fffe);
pub(super) const P3: f64 = f64::from_bits(0x3fc5_5555_5554_8ba1);
pub(super) const P4: f64 = f64::from_bits(0x3fa5_5555_555b_9e25);
pub(super) const P5: f64 = f64::from_bits(0x3f81_1115_c090_cf0f);
pub(super) const P6: f64 = f64::from_bits(0x3f56_c15c_e328_9860);
/// `2^-54`: below this `1 + x` is the answer.
pub(super) const TINY: f64 = f64::from_bits(0x3c90_0000_0000_0000);

/// From here on a result may need care.
pub(super) const LARGE: f64 = 619.0;

/// `e` to the power `x`, as `java.lang.Math.exp` on x86-64.
#[inline]
pub(crate) fn exp(x: f64) -> f64 {
    let size = x.abs();
    // Within these the result is normal with room to spare. NaN is in no range.
    if (TINY..LARGE).contains(&size) {
        let Parts { power, part, exponent } = parts(x);
        let power = scaled(power, exponent);
        part * power + power
    } else {
        exp_at_the_edges(x)
    }
}

/// `2^(j/64)`'s head, what multiplies it besides 1, and `n`.
struct Parts {
    power: f64,
    part: f64,
    exponent: i32,
}

#[inline(always)]
fn parts(x: f64) -> Parts {
    let shifted = x * STEPS_A_UNIT + ROUND;
    let steps = shifted.to_bits() as i32;
    let count = shifted - ROUND;
    let y = (x - count * STEP_HEAD) - count * STEP_TAIL;
    let [head, tail] = POWERS[(steps & 63) as usize];
    let square = y * y;
    let cube = square * y;
    let fifth = (cube * square) * (P6 * y + P5);
    let third = cube * (P4 * y + P3);
    let part = (third + ((y + f64::from_bits(tail)) + fifth)) + square * P2;
    Parts { power: f64::from_bits(head), part, exponent: steps >> 6 }
}

/// `value * 2^exponent` for a normal result, by adding to its exponent bits.
#[inline(always)]
fn scaled(value: f64, exponent: i32) -> f64 {
    f64::from_bits(value.to_bits().wrapping_add((i64::from(exponent) as u64) << 52))
}

/// `NaN`, infinities, results that overflow or are subnormal or near it, and arguments too small to matter.
#[cold]
#[inline(never)]
fn exp_at_the_edges(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x >= 1024.0 {
        return f64::INFINITY;
    }
    if x <= -1024.0 {
        return 0.0;
    }
    if x.abs() < TINY {
        return 1.0 + x;
    }
    let Parts { power, part, exponent } = parts(x);
    // The scale is applied in two halves, since neither 2^1024 nor 2^-1075 is a number.
    let half = exponent >> 1;
    let scale = scaled(1.0, half);
    let power = scaled(power, exponent - half);
    let part = part * power;
    // How many of the last bits a subnormal result loses.
    let lost = -1022 - exponent;
    if lost > 52 {
        return (part + power) * scale;
    }
    let kept = if lost >= 0 { f64::from_bits(power.to_bits() & (u64::MAX << lost)) } else { 0.0 };
    let rest = part + (power - kept);
    let whole = (rest + kept) * scale;
    if lost >= 0 && whole.abs() < f64::MIN_POSITIVE && (lost > 0 || rest.is_sign_negative()) {
        // Rounded once only, at the subnormal's last bit: the sum of these two is exact.
        return kept * scale + rest * scale;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::exp;

    /// Values that `Math.exp` of OpenJDK 17 gave on x86-64.
    #[test]
    fn matches_java_where_the_method_changes() {
        for (x, expected) in [
            (0x0000_0000_0000_0000, 0x3ff0_0000_0000_0000),
            (0x8000_0000_0000_0000, 0x3ff0_0000_0000_0000),
            (0x3ff0_0000_0000_0000, 0x4005_bf0a_8b14_5769),
            (0xbff0_0000_0000_0000, 0x3fd7_8b56_362c_ef38),
            (0x7ff0_0000_0000_0000, 0x7ff0_0000_0000_0000),
            (0xfff0_0000_0000_0000, 0x0000_0000_0000_0000),
            (0x7ff8_0000_0000_0000, 0x7ff8_0000_0000_0000),
            (0x4086_2e42_fefa_39ef, 0x7fef_ffff_ffff_ff2a),
            (0x4086_2e42_fefa_39f0, 0x7ff0_0000_0000_0000),
            (0xc087_4910_d52d_3051, 0x0000_0000_0000_0001),
            (0xc087_4910_d52d_3052, 0x0000_0000_0000_0000),
            (0xc086_232b_dd7a_bcd2, 0x0010_0000_0000_007c),
            (0xc086_2333_3333_3333, 0x000f_f15b_469e_df89),
            (0x7e37_e43c_8800_759c, 0x7ff0_0000_0000_0000),
            (0xfe37_e43c_8800_759c, 0x0000_0000_0000_0000),
            (0x0000_0000_0000_0001, 0x3ff0_0000_0000_0000),
            (0x4086_2b33_3333_3333, 0x7fe5_d303_de3a_c8fd),
            (0x4086_28b7_4bc6_a7f0, 0x7fdf_ff76_31da_f994),
            (0xc087_4385_1eb8_51ec, 0x0000_0000_0000_0001),
            (0x3c67_0ef5_4646_d497, 0x3ff0_0000_0000_0000),
            (0x4075_a0c6_ea17_39d3, 0x5f22_ede3_c8de_f4f0),
            (0x4013_eefe_5431_4cde, 0x4062_3eff_6876_5313),
            (0xbfd3_6a96_704c_f6b8, 0x3fe7_a04d_295e_c166),
            (0x3fe2_afd6_40dc_6d3e, 0x3ffc_b0ac_6a61_6781),
            (0xc087_3e93_d6d3_1b93, 0x0000_0000_0000_0002),
            (0x40ae_7fde_d993_e7bf, 0x7ff0_0000_0000_0000),
            (0x4072_6dde_9303_5178, 0x5a85_27ae_3f8a_a5a8),
            (0x400d_debb_1d26_6158, 0x4044_eaff_771a_1445),
            (0xbfe9_0116_c5bb_f1da, 0x3fdd_4c25_0e12_6265),
            (0x3bd3_958e_4d41_1dde, 0x3ff0_0000_0000_0000),
            (0xc087_00ca_a774_452a, 0x0000_0000_0000_1061),
            (0x96c6_97fb_b258_3069, 0x3ff0_0000_0000_0000),
            (0xc044_44e0_1b42_733a, 0x3c46_e0cf_c29c_3284),
            (0xc013_a571_3803_6f24, 0x3f7e_2687_12b7_a6e7),
            (0xbfce_0bb3_d80d_ba18, 0x3fe9_4e17_6881_72a2),
            (0x3ec6_3aa6_9cd2_d2ff, 0x3ff0_0002_c755_115f),
            (0xc087_15e1_1d87_bba8, 0x0000_0000_0000_012c),
            (0xaf34_64c4_1a78_50eb, 0x3ff0_0000_0000_0000),
            (0x4086_3a3b_ecf3_a725, 0x7ff0_0000_0000_0000),
            (0xc011_a9fa_718c_5344, 0x3f88_beba_1e4c_92cc),
            (0x3fc8_496c_8699_3680, 0x3ff3_57cd_6286_c3d4),
            (0xbb96_ff52_2085_f4d5, 0x3ff0_0000_0000_0000),
            (0xc086_bbd4_05b0_39f0, 0x0000_0000_0162_abc6),
            (0xbf8f_c3c9_002a_e27a, 0x3fef_81eb_cf87_97a3),
            (0xc064_4a44_a570_a2d9, 0x314c_4177_ebba_dd31),
            (0x401a_ccaf_893f_9f72, 0x4089_6285_67a3_3b6a),
            (0xbfb2_ba78_9d1d_7e20, 0x3fed_be16_958f_6f81),
            (0xbf5b_175a_0264_ebbf, 0x3fef_f277_3086_6769),
            (0xc086_d385_825f_6219, 0x0000_0000_0012_591e),
            (0xec0a_4f32_325a_3909, 0x0000_0000_0000_0000),
            (0x4076_8ac0_ec01_7e48, 0x6074_4000_2571_efcb),
            (0x4020_8fe1_981f_4880, 0x40ae_d86c_648b_20ca),
            (0xbfed_0de7_d38b_3dea, 0x3fd9_d081_d902_bc59),
            (0x3d6b_36e5_0b13_866d, 0x3ff0_0000_0000_0d9b),
            (0xc085_ee83_7e12_ccb5, 0x00a6_9116_231b_65cf),
            (0x818a_bfe9_52f5_019b, 0x3ff0_0000_0000_0000),
            (0x4084_591e_8818_a8b4, 0x7aa5_0eeb_f126_612d),
            (0xc007_8820_0993_7137, 0x3fab_070e_7ec7_5c94),
            (0x3fed_f34f_f7ea_1524, 0x4004_65a8_6140_0f46),
            (0xbda5_a34d_390f_5bf1, 0x3fef_ffff_fffe_a5cb),
        ] {
            let (x, expected) = (f64::from_bits(x), f64::from_bits(expected));
            let found = exp(x);
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "exp({x:e}) = {found:e}, Java says {expected:e}"
            );
        }
    }
}
