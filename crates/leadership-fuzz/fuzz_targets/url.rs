//! URLs of all stores.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    leadership_fuzz::url(input);
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("{}", leadership_fuzz::HOW);
}
