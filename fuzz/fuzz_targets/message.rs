//! Any bytes as a CMR message: what parses writes back exactly the same bytes, what does not
//! says where. The property tests of the library check the same function.
//!
//! `cargo +nightly fuzz run message fuzz/seeds/message`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(broken) = cmr_mail::message::parse_and_write_agree(data) {
        panic!("{broken}");
    }
});
