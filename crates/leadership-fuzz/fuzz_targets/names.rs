//! Names of elections, and the keys that the stores make of them.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    leadership_etcd::fuzzing::names(input);
    leadership_consul::fuzzing::names(input);
    leadership_zk::fuzzing::names(input);
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("{}", leadership_fuzz::HOW);
}
