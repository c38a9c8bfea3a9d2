//! `cargo run -p chaos-tests --bin chaos -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    chaos_tests::runs::main()
}
