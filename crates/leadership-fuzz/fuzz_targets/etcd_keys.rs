//! Keys that etcd may have in the range of an election.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    leadership_etcd::fuzzing::keys(input);
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("{}", leadership_fuzz::HOW);
}
