// SPDX-License-Identifier: GPL-2.0

//! The one program in the test guest besides busybox.
//!
//! `guest agent TTY` runs commands for the host over a serial port.
//! `guest work ...` keeps memory, files and a counter that can be verified.

use std::process::ExitCode;

mod agent;
mod work;

const USAGE: &str = "\
usage: guest agent TTY
       guest work start [mib=64] [seed=1] [file_mib=0]
       guest work verify | status | stop";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["agent", tty] => agent::serve(tty).map(|()| String::new()),
        ["work", "start", options @ ..] => work::start(options),
        ["work", "serve", options @ ..] => work::serve(options).map(|()| String::new()),
        ["work", request @ ("verify" | "status" | "stop")] => work::ask(request),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}
