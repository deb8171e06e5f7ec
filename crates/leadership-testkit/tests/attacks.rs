//! Attacks that the store in memory is safe from.

use leadership_testkit::{attacks, trials};

fn main() {
    trials::main(attacks::on_memory());
}
