//! Children that the node of an election may have in ZooKeeper.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    leadership_zk::fuzzing::children(input);
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("{}", leadership_fuzz::HOW);
}
