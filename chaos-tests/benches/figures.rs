//! The benchmark suite; see `chaos_tests::figures`. Without `--bench`, which `cargo bench` adds, it does nothing: test runners start every
//! target they find.

use std::process::ExitCode;

fn main() -> ExitCode {
    chaos_tests::figures::main()
}
