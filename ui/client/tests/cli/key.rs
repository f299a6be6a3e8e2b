// SPDX-License-Identifier: GPL-2.0

//! `dormouse key`. What needs the kernel's keyrings is tested in guests.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use dormouse_host::encrypted::Cipher;
use dormouse_host::samples::FACTS;

use crate::disks;
use crate::fake::Fake;

const IMAGE: &str = "state: committed\nencryptor: aes-gcm\nkey: user:other\nhint: \n";

fn with_image(image: &str) -> Fake {
    let fake = Fake::new();
    fake.set("image", image);
    fake
}

/// On a terminal, where somebody types each answer when its prompt is there. Returns the exit code
/// and all that is seen.
fn typed(fake: &Fake, args: &str, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_dormouse");
    let line = format!("'{program}' --root '{}' {args}", fake.root().display());
    // A background job of a script ignores both signals, and so would all that it starts.
    let mut child = Command::new("env")
        .args(["--default-signal=INT,QUIT", "script"])
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

#[test]
fn asks_twice() {
    let fake = Fake::new();
    let answers = [("images: ", "tea\n"), ("Again: ", "teb\n")];
    let (code, text) = typed(&fake, "key set --memory-mib 16", &answers);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the two are not the same"), "{text}");
    assert!(
        !text.contains("tea") && !text.contains("teb"),
        "it is shown: {text}"
    );
    // As it was before.
    assert_eq!(fake.get("encryptor"), "chacha20-poly1305");
    assert_eq!(fake.get("key"), "none\n");
}

#[test]
fn an_interrupt_puts_everything_back() {
    let fake = Fake::new();
    let line = "key set --memory-mib 16; echo \"code $?\"; stty -a";
    let (_, text) = typed(&fake, line, &[("images: ", "te\u{3}")]);
    // As a shell says it of a process that SIGINT has ended.
    assert!(text.contains("code 130"), "{text}");
    assert!(
        text.contains(" echo ") && text.contains(" icanon ") && text.contains("isig "),
        "the terminal is not as it was: {text}"
    );
    assert_eq!(fake.get("encryptor"), "chacha20-poly1305");
    assert_eq!(fake.get("key"), "none\n");
}

#[test]
fn warns_when_the_boot_would_refuse() {
    let fake = Fake::new();
    fake.put("etc/dormouse.toml", "encryptor = 'aes-gcm'\n");
    let ran = fake.run("key clear");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("says encryptor aes-gcm"), "{ran:?}");
    fake.put("etc/dormouse.toml", "encryptor = 'none'\n");
    assert_eq!(fake.run("key clear").err, "");
}

#[test]
fn refuses_nothing_as_a_passphrase() {
    for input in ["", "\n", "\nx\n"] {
        let fake = Fake::new();
        let args = ["key", "set", "--stdin", "--memory-mib", "16"];
        fake.feed(&args, input).fails(1, "is empty");
        assert_eq!(fake.get("encryptor"), "chacha20-poly1305");
    }
}

#[test]
fn says_when_there_is_nothing_to_unlock() {
    for (image, why) in [
        ("none\n", "there is no image"),
        ("state: committed\nencryptor: none\n", "is not encrypted"),
        ("state: failed\n", "there is no image"),
    ] {
        with_image(image).run("key unlock").fails(3, why);
    }
    let fake = with_image(IMAGE);
    let args = ["key", "unlock", "/dev/vdb", "--stdin"];
    fake.feed(&args, "x\n").fails(1, "needs the key user:other");
    // It looked there, and put back where a resume looks.
    assert_eq!(fake.get("target"), "auto");
}

/// An export whose key comes from a passphrase that nobody here knows.
fn encrypted(fake: &Fake, hint: &str) -> String {
    fake.put("export", disks::hinted_export(hint));
    fake.root().join("export").display().to_string()
}

#[test]
fn notices_a_wrong_passphrase_at_once() {
    let fake = Fake::new();
    let hint = "argon2id:v=19,m=16384,t=2,p=2,salt=30313233343536373839616263646566";
    let place = encrypted(&fake, hint);
    let args = ["key", "unlock", "--device", &place, "--stdin"];
    fake.feed(&args, "wrong horse\n")
        .fails(1, "wrong passphrase, or the image was altered");
    fake.feed(&args, "\n").fails(1, "is empty");
    // The kernel has heard of nothing.
    assert_eq!(
        (fake.get("key").as_str(), fake.get("hint").as_str()),
        ("none\n", "\n")
    );
    let prompt = "image: ";
    let answers = [(prompt, "a\n"), (prompt, "b\n"), (prompt, "c\n")];
    let (code, text) = typed(&fake, &format!("key unlock --device {place}"), &answers);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.matches("wrong passphrase").count(), 3, "{text}");

    encrypted(&fake, "something else");
    fake.feed(&args, "x\n")
        .fails(1, "does not say how its key was made");
    fake.put("export", disks::encrypted_export(Cipher::AesGcm));
    fake.feed(&args, "x\n")
        .fails(1, "does not say how its key was made");
    fake.put(
        "export",
        crate::memory::export(&FACTS, &[(1, vec![7; 4096])].into(), &[]),
    );
    fake.feed(&args, "x\n")
        .fails(3, "the image is not encrypted");
    fake.put("export", [0xa5; 8192]);
    fake.feed(&args, "x\n").fails(3, "has no mark of Dormouse");
    fake.run("key unlock --device /nowhere")
        .fails(1, "cannot be read");
    fake.run("key unlock --device /dev/vda /dev/vdb")
        .fails(2, "cannot be used with");
}

#[test]
fn says_how_things_are() {
    let fake = with_image(IMAGE);
    let expected = "encryptor: chacha20-poly1305\nkey: none\n\
                    image: encrypted by aes-gcm, needs user:other\n";
    assert_eq!(fake.run("key status").works(), expected);
    assert_eq!(
        fake.run("key status --json").json()["image_key"],
        "user:other"
    );
    assert_eq!(fake.run("key frob").code, 2);
}
