//! What answers in the place of Consul.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    leadership_consul::fuzzing::json_answers(input);
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("{}", leadership_fuzz::HOW);
}
