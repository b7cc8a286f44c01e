//! The executable. Everything is in the library, so that tests run the same code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    forecastd::cli::main(forecastd::cli::Arguments::parse())
}
