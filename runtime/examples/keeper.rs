//! The keeper as a program of its own, for this crate's tests: `keeper __keeper DIRECTORY`, whose supervisor only waits.
//! `keeper __spawn DIRECTORY` starts it as the product does, from a sealed copy, and returns when it listens.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match (arguments.get(1).and_then(|word| word.to_str()), arguments.get(2)) {
        (Some("__keeper"), Some(directory)) => {
            let directory = Path::new(directory);
            pactown_runtime::keeper::run(directory, vec![OsString::from("__idle")], directory)
        }
        (Some("__spawn"), Some(directory)) => {
            match pactown_runtime::seal::spawn_keeper(Path::new(directory), &[OsStr::new("x")], |_| Ok(())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => loop {
            std::thread::park();
        },
    }
}
