// SPDX-License-Identifier: GPL-2.0

//! The command itself, over a folder that looks like that of the kernel. What needs the kernel's
//! keyrings is tested in guests.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const IMAGE: &str = "state: committed\nencryptor: aes-gcm\nkey: user:other\nhint: \n";

fn control(image: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("encryptor", "none [chacha20-poly1305] aes-gcm\n"),
        ("key", "none\n"),
        ("hint", "\n"),
        ("target", "auto\n"),
        ("image", image),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn feed(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn dormouse(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    feed(command.arg("--control").arg(folder).args(args), input)
}

/// On a terminal, where somebody types each answer when its prompt is there. Returns the exit code
/// and all that is seen.
fn typed(folder: &Path, args: &str, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_dormouse");
    let line = format!("'{program}' --control '{}' {args}", folder.display());
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    for (prompt, answer) in answers {
        let mut byte = [0];
        while !seen.ends_with(prompt.as_bytes()) && screen.read(&mut byte).unwrap() == 1 {
            seen.push(byte[0]);
        }
        // The echo is switched off after the prompt; nobody types that fast.
        std::thread::sleep(std::time::Duration::from_millis(300));
        keyboard.write_all(answer.as_bytes()).unwrap();
    }
    screen.read_to_end(&mut seen).unwrap();
    drop(keyboard);
    let code = child.wait().unwrap().code();
    (code, String::from_utf8_lossy(&seen).into_owned())
}

fn get(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn asks_twice() {
    let folder = control("none\n");
    let answers = [("images: ", "tea\n"), ("Again: ", "teb\n")];
    let (code, text) = typed(folder.path(), "key set --memory-mib 16", &answers);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the two are not the same"), "{text}");
    assert!(
        !text.contains("tea") && !text.contains("teb"),
        "it is shown: {text}"
    );
    // As it was before.
    assert_eq!(get(folder.path(), "encryptor"), "chacha20-poly1305");
    assert_eq!(get(folder.path(), "key"), "none\n");
}

#[test]
fn refuses_nothing_as_a_passphrase() {
    for input in ["", "\n", "\nx\n"] {
        let folder = control("none\n");
        let args = ["key", "set", "--stdin", "--memory-mib", "16"];
        let output = dormouse(folder.path(), &args, input);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("is empty"));
        assert_eq!(get(folder.path(), "encryptor"), "chacha20-poly1305");
    }
}

#[test]
fn says_when_there_is_nothing_to_unlock() {
    for image in [
        "none\n",
        "state: committed\nencryptor: none\n",
        "state: failed\n",
    ] {
        let output = dormouse(control(image).path(), &["key", "unlock"], "");
        assert_eq!(output.status.code(), Some(3), "{image}");
    }
    let folder = control(IMAGE);
    let output = dormouse(
        folder.path(),
        &["key", "unlock", "/dev/vdb", "--stdin"],
        "x\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("needs the key user:other"), "{text}");
    // It looked there, and put back where a resume looks.
    assert_eq!(get(folder.path(), "target"), "auto");
}

#[test]
fn says_how_things_are() {
    let output = dormouse(control(IMAGE).path(), &["key", "status"], "");
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = "encryptor: chacha20-poly1305\nkey: none\n\
                    image: encrypted by aes-gcm, needs user:other\n";
    assert_eq!(text, expected);
    assert_eq!(output.status.code(), Some(0));
    let output = dormouse(Path::new("/nonexistent"), &["key", "status"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this kernel has no Dormouse"));
    assert_eq!(
        dormouse(Path::new("/"), &["key", "frob"], "").status.code(),
        Some(2)
    );
}
