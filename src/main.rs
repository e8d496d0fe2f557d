//! The `cmr-mail` program; everything it does is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cmr_mail::cli::main(std::env::args_os())
}
