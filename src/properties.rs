//! How the property tests draw their cases: from a fixed seed, so that `cargo test` never fails by chance.
//!
//! `.ci/properties` runs them with random seeds, for as long as it is told to.

use proptest::test_runner::{Config, RngSeed};

/// The usual configuration with a fixed seed, unless the variable `PROPTEST_RNG_SEED` names another one.
pub(crate) fn fixed_seed() -> Config {
    let mut config = Config::default();
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    // What a property does not apply to is passed over: the more cases, the more of it.
    config.max_global_rejects = config.cases.saturating_mul(100);
    config
}
